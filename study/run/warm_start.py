"""The first points of a warm-started search: the best ones that another study found.

The other study is read once, when a study begins. The points are then in the specification, so the study can be
continued without the other one's folder.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from jointnet.errors import InputError, SettingsError, short_repr
from jointnet.patient_names import in_natural_order, names_text
from jointnet.settings import Settings
from jointnet.train.objective import Objective
from study.plan.identity import SPECIFICATION_FILE, specification_of
from study.plan.plan import Plan
from study.search.first_trials import Sample, first_samples
from study.search.outcome import TrialOutcome, after
from study.search.parameters import Parameter
from study.search.space import SearchSpace, WarmStart
from study.store_names import is_plain_name
from study.trials.ledger import LEDGER_FILE, read_events

MOST_POINTS = 3
"""Points of another study with which an arm begins."""


def warm_started(plan: Plan) -> Plan:
    """Return the plan with the points of the studies that its searches name.

    A study that has begun keeps the points of its specification.

    Raises:
        SettingsError: lists every reason why another study cannot be used.
    """
    named = {space.name: space for space in plan.spaces if space.search.warm_start is not None}
    if not named:
        return plan
    errors: list[str] = []
    begun = specification_of(plan.folder) if plan.continues else None
    found = {}
    for name, space in named.items():
        if begun is not None:
            found[name] = _recorded(begun, name)
            continue
        try:
            found[name] = _read(plan, space)
        except InputError as error:
            errors += [f"{name}: search.warm_start: {line}" for line in error.errors]
    if errors:
        raise SettingsError(errors)
    spaces = {space.name: replace(space, warm_start=found.get(space.name)) for space in plan.spaces}
    return replace(plan, arms=tuple(replace(arm, space=spaces[arm.space.name]) for arm in plan.arms))


def _recorded(specification: Mapping[str, Any], search: str) -> WarmStart:
    """Return the points of the specification of a study that has begun."""
    content = next(each for each in specification["searches"] if each["name"] == search)["warm_start"]
    points = {method: tuple(samples) for method, samples in content["points"].items()}
    return WarmStart(content["study"], points, content["outside"], tuple(content["patients"]))


def _read(plan: Plan, space: SearchSpace) -> WarmStart:
    """Return the best points of another study for each method of a search.

    Raises:
        InputError: lists the reasons why it cannot be used.
    """
    folder = _folder(plan.out, str(space.search.warm_start))
    other = specification_of(folder)
    if other is None:
        studies = sorted(path.parent.name for path in plan.out.glob(f"*/{SPECIFICATION_FILE}"))
        raise SettingsError(
            f"must be one of the studies {', '.join(studies) or '(none)'} in {plan.out}, got "
            f"{short_repr(space.search.warm_start)}"
        )
    patients = _patients(other)
    errors = [*_differences(plan, other), *_leaks(plan, patients)]
    objective = Objective.from_dict(other["objective"])
    trials = _trials(folder, objective)
    points, outside = dict[str, tuple[Sample, ...]](), dict[str, int]()
    for method in space.methods:
        arms = [_key(arm) for arm in other["arms"] if arm["model"] == method.model]
        if not arms:
            had = ", ".join(dict.fromkeys(arm["model"] for arm in other["arms"]))
            errors.append(f"must be a study of the model {method.model} of the arm {method.name}, it has {had}")
            continue
        best, parameters = _best([trials.get(arm, []) for arm in arms]), space.parameters_of(method.name)
        if not parameters:
            continue
        names = {parameter.name for parameter in parameters}
        if lacking := sorted({name for sample in best for name in sample} - names):
            had = ", ".join(lacking)
            errors.append(f"must have searched parameters of the arm {method.name} only, it also searched {had}")
            continue
        points[method.name], outside[method.name] = _inside(best, parameters, space.settings_of(method.name))
    if not errors and not any(points.values()):
        errors.append(f"must have a trial with an objective in this search's space, {folder.name} has none")
    if errors:
        raise SettingsError(errors)
    return WarmStart(folder.name, points, outside, patients)


def _inside(
    best: Sequence[Sample], parameters: Sequence[Parameter], settings: Settings
) -> tuple[tuple[Sample, ...], int]:
    """Return the first different samples that lie in a space, and the number of those before them that do not."""
    inside, outside = list[Sample](), 0
    for sample in best:
        if len(inside) < MOST_POINTS:
            found, wrong = first_samples(parameters, settings, [sample])
            inside += [each for each in found if each not in inside]
            outside += bool(wrong)
    return tuple(inside), outside


def _folder(out: Path, name: str) -> Path:
    """Return the folder of a study by its id, or by a path of it under `out`."""
    path = Path(name)
    if is_plain_name(name):
        return out / name
    if path.absolute().parent == out.absolute() and is_plain_name(path.name):
        return out / path.name
    raise SettingsError(f"must be the id of a study, or its folder in --out, {out}, got {short_repr(name)}")


def _key(arm: Mapping[str, Any]) -> str:
    """Return the key in the ledger of an arm of a specification."""
    return f"fold-{arm['fold']}/{arm['arm']}" if "fold" in arm else str(arm["arm"])


def _patients(specification: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the training and validation patients of a study, and those that its own warm start depends on."""
    names = {
        str(name)
        for split in specification["splits"].values()
        for part in ("train", "validation")
        for name in split[part]
    }
    for search in specification["searches"]:
        names |= set((search.get("warm_start") or {}).get("patients", ()))
    return tuple(in_natural_order(names))


def _differences(plan: Plan, other: Mapping[str, Any]) -> Iterator[str]:
    """Yield the reasons why the objectives of another study cannot be used in this one."""
    if other["data"]["fingerprint"] != plan.data.fingerprint:
        own = f"fingerprint {plan.data.fingerprint}"
        yield f"must have this study's training and validation data, {own}, it has {other['data']['fingerprint']}"
    teacher = plan.data.pseudo_labels.sha256 if plan.data.pseudo_labels else None
    if other["data"].get("teacher") != teacher:
        yield f"must have this study's teacher of pseudo-labels, {teacher}, it has {other['data'].get('teacher')}"
    objective = Objective.from_dict(other["objective"])
    if objective != plan.objective:
        yield f"must have this study's objective, {plan.objective.rule}, it has {objective.rule}"


def _leaks(plan: Plan, patients: tuple[str, ...]) -> Iterator[str]:
    """Yield an error where another study's search used test patients of this study."""
    tested = {name for split in plan.splits.values() for name in split.test}
    if known := in_natural_order(tested & set(patients)):
        yield (
            "must not have trained or validated on this study's test patients, which would no longer be unseen, it did "
            f"on {len(known)}: {names_text(known)}"
        )


def _trials(folder: Path, objective: Objective) -> dict[str, list[TrialOutcome]]:
    """Return the trials of a study that ended with an objective, by the key of their arm."""
    outcomes: dict[str, dict[str, TrialOutcome]] = {}
    for event in read_events(folder / LEDGER_FILE)[0]:
        arm, trial = event.get("arm"), event.get("trial")
        if isinstance(arm, str) and isinstance(trial, str):
            of_arm = outcomes.setdefault(arm, {})
            if (outcome := after(of_arm.get(trial), event, folder, objective)) is not None:
                of_arm[trial] = outcome
    ended = ("complete", "stopped")
    return {
        arm: [each for each in of_arm.values() if each.state in ended and each.objective is not None]
        for arm, of_arm in outcomes.items()
    }


def _best(arms: list[list[TrialOutcome]]) -> list[Sample]:
    """Return the samples of several arms, the best of each arm first, then the second of each, and so on.

    Objectives of arms with other patients are not compared, apart from those of one rank.
    """
    ranked = [sorted(trials, key=lambda trial: (trial.costs, trial.trial_id)) for trials in arms]
    ordered = sorted(
        ((rank, trial.costs, place, trial) for place, arm in enumerate(ranked) for rank, trial in enumerate(arm)),
        key=lambda each: each[:3],
    )
    return [json.loads(json.dumps(dict(trial.sample))) for *_, trial in ordered]
