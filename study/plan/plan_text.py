"""The plan of a study as text for the terminal."""

import textwrap
from collections.abc import Callable

from jointnet.models import model_of
from jointnet.patient_names import names_text
from study.arm_differences import (
    LENGTH,
    MODEL,
    NOTHING_SEARCHED,
    TRAIN,
    TRIALS,
    by_value,
    key_name,
    named,
    sentence,
    span,
)
from study.plan.capacity import describe_cluster, trials_now
from study.plan.cost import (
    MEASURED_SETTINGS,
    arm_minutes,
    arm_trials,
    budget_share_minutes,
    checkpoint_megabytes,
    expected_minutes,
    is_timed,
    ledger_megabytes,
    model_megabytes,
    relative_work,
    retrain_minutes,
    searched_sizes,
    training_hours,
)
from study.plan.environment import environment_lines
from study.plan.plan import Arm, Data, Design, Plan, annotated_training, given
from study.plan.search_text import search_lines
from study.search.space import SearchSpace
from study.store_address import without_secrets

MOST_NOTES = 6
BESIDE = 12
"""Characters before the text beside a heading."""
WIDTH = 117
"""Largest number of characters of a line."""


def render(plan: Plan) -> str:
    """Return the plan as text for the terminal."""
    lines = [
        f"Study {plan.study_id}{', which this command continues (--new starts another)' if plan.continues else ''}"
    ]
    if plan.data.kind == "phantom":
        lines.append(
            f"  Data      BUILT-IN PHANTOM, not real scans: {plan.data.patients} synthetic patients in "
            f"{plan.data.folder} (--data DIR takes a folder of scans)"
        )
    else:
        lines.append(f"  Data      {plan.data.patients} patients in {plan.data.folder}")
        lines += [f"            {line}" for line in _described(plan.data)]
    lines += [f"            {line}" for line in _pseudo_labelled(plan.data)]
    lines += [f"  Question  {space.question}" for space in plan.spaces]
    lines += [f"  Settings  {_settings(space)}" for space in plan.spaces]
    lines.append(f"  Objective {_objective(plan)}")
    lines += [f"            {line}" for line in _front(plan)]
    lines += _design(plan)
    lines.append("  Arms      arm, train/validation/test, annotated, trials, epochs each, expected minutes (at most)")
    lines += [f"            {_arm(plan, name)}" for name in dict.fromkeys(arm.name for arm in plan.arms)]
    lines += [line for space in plan.spaces for line in search_lines(plan, space)]
    lines += _given(plan)
    lines += [
        f"  Work      {_work(plan)}",
        f"  Machine   {_at_once(plan)} on {plan.resources.device}, {_each_trial(plan)}",
        *([f"  Cluster   {plan.address}, {describe_cluster(plan.nodes, plan.autoscaler)}"] if plan.address else []),
        f"  Time      {_time(plan)}",
        *_disk(plan),
        *_estimated(plan),
        "  Test      patients stay sealed until every selection is recorded; each arm is evaluated once, with "
        f"{_tested_models(plan)}",
        f"  Tracking  {without_secrets(plan.tracking_uri)}",
        f"  Output    {plan.folder}",
        f"  Cache     {plan.cache}",
        *_transfer(plan),
        *(f"  {'' if number else 'Environment':<9} {line}" for number, line in enumerate(environment_lines())),
    ]
    return "\n".join(lines)


def fitted(text: str, width: int) -> str:
    """Return the text of a plan with its lines broken between words where they are longer than `width` or `WIDTH`."""
    lines, width = [], min(width, WIDTH)
    for line in text.splitlines():
        beside = line[BESIDE:]
        indent = " " * (BESIDE + len(beside) - len(beside.lstrip())) if line.startswith(" ") else ""
        lines += textwrap.wrap(line, width, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False)
    return "\n".join(lines)


def _settings(space: SearchSpace) -> str:
    fixed = ", ".join(f"{key} = {value}" for key, value in space.fixed.items())
    return f"{space.name}: {space.settings}" + (f", with {fixed}" if fixed else "")


def _objective(plan: Plan) -> str:
    """Return the line about the metric that ranks the trials."""
    objective = plan.objective
    unit = f" in {objective.unit}" if objective.unit else ""
    one = "; 1 means no improvement" if objective.is_ratio else ""
    return f"{objective.metric}, {objective.title}{unit} on the validation patients: {objective.better}{one}"


def _front(plan: Plan) -> list[str]:
    """Return the lines about the Pareto front; none where the objective has one metric."""
    further = [f"{each.metric}, {each.title}: {each.better}" for each in plan.objective.further]
    if not further:
        return []
    return [
        f"beside it {'; '.join(further)}; the report shows the Pareto front of {len(further) + 1} metrics",
        f"{plan.objective.metric} alone chooses: a trial's best epoch, the winner, and so what is tested and retrained",
    ]


def _described(data: Data) -> list[str]:
    """Return the lines about the folder's description, and about what of the folder is not read."""
    lines = [] if data.dataset is None or data.dataset.file is None else [data.dataset.summary()]
    more = len(data.notes) - MOST_NOTES
    return [*lines, *data.notes[:MOST_NOTES], *([f"and {more} more; see jointnet.data check"] if more > 0 else [])]


def _pseudo_labelled(data: Data) -> list[str]:
    """Return the lines about the patients without labels."""
    if data.pseudo_labels is None:
        return []
    names, teacher, digest, seen = vars(data.pseudo_labels).values()
    return [
        f"{len(names)} of them without labels: {names_text(names)}. Arms whose model segments learn from their "
        f"pseudo-labels by {teacher} (SHA-256 {digest[:12]}, trained and validated on {len(seen)} patients). They are "
        "not counted as annotated."
    ]


def _design(plan: Plan) -> list[str]:
    """Return the lines about the design: folds, validation patients, effort and remarks."""
    design, budget = plan.design, plan.spaces[0].budget
    searched = {bool(arm.parameters) for arm in plan.arms}
    lines = ["one split: the same test patients in every arm"]
    if design.folds > 1:
        lines = [
            f"nested cross-validation: {design.folds} folds, each patient is tested in {_often(design)} one of them; "
            "each fold has its own searches, selections and test evaluations",
        ]
    if design.same_validation:
        unlabelled = len(plan.data.pseudo_labels.patients) if plan.data.pseudo_labels else 0
        unused = {
            str(arm.split.counts): plan.data.patients - arm.split.counts.total - unlabelled
            for arm in plan.arms
            if arm.fold == design.folds
        }
        counts = ", ".join(f"{count} of {name}" for name, count in unused.items() if count)
        lines.append(f"the same validation patients in all splits of a fold; patients left unused: {counts or 'none'}")
    if False in searched:
        lines.append(
            f"{'an arm without parameters' if True in searched else 'each arm'} is trained once at its settings: "
            "nothing is searched for it"
        )
    if True in searched and budget.per_arm:
        lines.append(
            f"equal compute: each arm{' of each fold' if design.folds > 1 else ''} draws trials for "
            f"{budget.minutes:g} minutes on the same machine; their number differs"
        )
    elif True in searched:
        lines.append("equal effort: the same number of trials in every arm of a search, unless its minutes end first")
    lines += plan.remarks
    return [f"  {'' if number else 'Design':<9} {line}" for number, line in enumerate(lines)]


def _often(design: Design) -> str:
    return "exactly" if design.splits_file is None else "at most"


def _arm(plan: Plan, name: str) -> str:
    """Return the line of an arm, over all folds where there are several."""
    arms = [arm for arm in plan.arms if arm.name == name]
    first, fidelity, seeds = arms[0], arms[0].space.fidelity, plan.design.seeds
    tests = sorted({arm.split.counts.test for arm in arms})
    split = f"{first.split.counts.train}/{first.split.counts.validation}/{'-'.join(map(str, tests))}"
    limits = [share for arm in arms if (share := budget_share_minutes(plan, arm)) is not None]
    limit = f" ({sum(limits):.1f})" if limits else ""
    width = max(14, *(len(arm.name) for arm in plan.arms))
    annotated = span(annotated_training(plan.data, arm) + arm.split.counts.validation for arm in arms)
    text = f"{name:<{width}} {split:<9} {annotated:>3} annotated, {_trials(first)}, "
    text += f"{_minutes(plan, arms, arm_minutes)}{limit}"
    if seeds:
        text += f", then {seeds} x {fidelity.max_epochs} epochs, {_minutes(plan, arms, retrain_minutes)}"
    return text + (f", in each of {len(arms)} folds (minutes of all)" if len(arms) > 1 else "")


def _given(plan: Plan) -> list[str]:
    """Return the lines about what the arms are given: their differences, and the arms by their value of a setting."""
    arms = {arm.name: arm for arm in plan.arms}
    methods = {name: arm.method for name, arm in arms.items()}
    given_to = {
        name: {
            **given(plan.data, arm),
            **(NOTHING_SEARCHED if arm.budget.num_samples == 1 else {}),
            TRIALS: _trial_count(arm),
        }
        for name, arm in arms.items()
    }
    own = {key for arm in plan.arms for key in arm.space.method(arm.method).fixed}
    lines = [text] if (text := sentence(given_to, own)) else []
    for key, row in named(given_to).items() if lines else ():
        parts = [f"{value} ({', '.join(names)})" for value, names in by_value(row, methods).items()]
        if key not in (MODEL, TRAIN, LENGTH):
            lines.append(f"{key_name(key)}: {', '.join(parts)}")
    return [f"  {'' if number else 'Compared':<9} {line}" for number, line in enumerate(lines)]


def _trial_count(arm: Arm) -> str:
    samples, minutes = arm.budget.num_samples, arm.budget.minutes
    return f"as many as fit in {minutes:g} minutes" if samples is None else str(samples)


def _trials(arm: Arm) -> str:
    """Return a text about the trials of an arm and their epochs."""
    fidelity, samples = arm.space.fidelity, arm.budget.num_samples
    steps = arm.settings.training.steps
    long = "" if steps is None else f" ({steps} steps)"
    from_settings = arm.begins_with_settings
    if samples == 1:
        return f"  1 trial{', its settings,' if from_settings else ''} of {fidelity.max_epochs} epochs{long}"
    count = "as many trials as fit" if samples is None else f"{samples:>3} trials"
    first = ", the first its settings," if from_settings else ""
    epochs = f"{fidelity.grace_epochs}-{fidelity.max_epochs}"
    if arm.space.search.scheduler == "none":
        epochs = str(fidelity.max_epochs)
    return f"{count}{first} of {epochs} epochs{long}"


def _minutes(plan: Plan, arms: list[Arm], expected: Callable[[Plan, Arm], float | None]) -> str:
    each = [minutes for arm in arms if (minutes := expected(plan, arm)) is not None]
    return f"{sum(each):.1f} min" if len(each) == len(arms) else "unknown time"


def _work(plan: Plan) -> str:
    """Return the line about the number of trainings and their CPU-hours or GPU-hours."""
    trials = [count for arm in plan.arms if (count := arm_trials(plan, arm)) is not None]
    counted = (
        f"{'' if _trials_are_fixed(plan) else 'about '}{sum(trials):.0f} trials"
        if len(trials) == len(plan.arms)
        else "trials"
    )
    hours, resources = training_hours(plan), plan.resources
    kind, each = ("GPU", resources.gpus_per_trial) if resources.gpus_per_trial else ("CPU", resources.cpus_per_trial)
    spent = f"an unknown number of {kind}-hours" if hours is None else f"about {hours * each:.2g} {kind}-hours"
    return f"{counted} and {plan.design.seeds * len(plan.arms)} retrainings, {spent}"


def _trials_are_fixed(plan: Plan) -> bool:
    """Return whether the number of trials is known."""
    return all(arm.budget.num_samples is not None for arm in plan.arms)


def _tested_models(plan: Plan) -> str:
    seeds = plan.design.seeds
    if seeds:
        return f"{seeds} model{'s' if seeds > 1 else ''}: its selected trial, retrained with new seeds"
    return "the model of its selected trial (--seeds K retrains that trial with K new seeds)"


def _at_once(plan: Plan) -> str:
    """Return a text about the number of concurrent trainings, on a cluster with the number that fit now."""
    most, now = plan.resources.concurrent, trials_now(plan.nodes, plan.resources)
    if plan.address is None or (plan.at_once and now >= plan.at_once):
        return f"{most} concurrent trainings"
    if plan.at_once:
        return f"{most} concurrent trainings (now {now})"
    known = plan.autoscaler is not None and plan.autoscaler.nodes is not None
    return f"as many concurrent trainings as fit, now {now}{f' of up to {most}' if known else ''},"


def _each_trial(plan: Plan) -> str:
    """Return a text about the resources of a trial and, without a cluster, those of this machine."""
    resources = plan.resources
    gpus = f", {resources.gpus_per_trial:g} GPU" if resources.gpus_per_trial else ""
    each = f"{resources.cpus_per_trial:g} CPU{gpus} each"
    if plan.address or len(plan.nodes) != 1:
        return each
    node = plan.nodes[0]
    memory = "" if node.memory_bytes is None else f" and {node.memory_bytes / 1e9:.3g} GB of memory"
    return f"{each}, of {node.cpus:g} CPU{memory}"


def _transfer(plan: Plan) -> list[str]:
    """Return the line about the way of patients and models on a cluster."""
    if not plan.transfer.reason:
        return []
    way = "patients and models go through Ray" if plan.transfer.through_ray else "in place"
    return [f"  Files     {way}: {plan.transfer.reason}"]


def _disk(plan: Plan) -> list[str]:
    models, running, ledger = model_megabytes(plan), checkpoint_megabytes(plan), ledger_megabytes(plan)
    if models is None or ledger is None:
        return [f"  Disk      a model of each training, twice, and {running:.1f} MB for each running training"]
    bound = "at most" if _trials_are_fixed(plan) else "about"
    return [
        f"  Disk      {bound} {models:.1f} MB of models, as much again in the tracking store, {running:.1f} MB for "
        f"each running training{f', {ledger:.0f} MB of records' if ledger >= 1 else ''}"
    ]


def _time(plan: Plan) -> str:
    minutes = expected_minutes(plan)
    if minutes is None:
        models = dict.fromkeys(model_of(arm.model).name for arm in plan.arms)
        return f"unknown: no epoch of {' and '.join(models)} was measured on {plan.resources.device}"
    timed = dict.fromkeys(model_of(arm.model).name for arm in plan.arms if is_timed(arm))
    scaled = any(relative_work(arm.settings) != 1 for arm in plan.arms if not is_timed(arm))
    reasons = [f"one step of {name} was timed" for name in timed]
    reasons += [f"scaled from the settings {MEASURED_SETTINGS} by the size of the networks"] if scaled else []
    rough = f", roughly: {'; '.join(reasons)}" if reasons else ""
    most = plan.resources.concurrent
    if plan.address and most > trials_now(plan.nodes, plan.resources):
        rough = f" with {most} at once{rough}"
    return f"about {minutes:.0f} minutes in all{rough}"


def _estimated(plan: Plan) -> list[str]:
    """Return the line about what the estimates leave out; none where no cost of a training is searched."""
    varied = dict.fromkeys(name for arm in plan.arms for name in searched_sizes(arm))
    text = f"            time and disk are those of the settings; {', '.join(varied)} of the trials may differ"
    return [text] if varied else []
