"""The plan of a study as text for a terminal, before anything starts."""

from study.capacity import told
from study.disk_use import checkpoint_megabytes, ledger_megabytes, model_megabytes
from study.estimate import MEASURED_SETTINGS, arm_minutes, budget_share_minutes, expected_minutes, relative_work
from study.plan import Arm, Plan
from study.space import SearchSpace


def render(plan: Plan) -> str:
    """Write the plan for a terminal."""
    resources = plan.resources
    lines = [
        f"Study {plan.study_id}{', which this command continues (--new starts another)' if plan.continues else ''}"
    ]
    if plan.data.kind == "phantom":
        lines.append(f"  Data      BUILT-IN PHANTOM, not real scans: {plan.data.patients} synthetic patients")
        lines.append(f"            in {plan.data.folder} (--data DIR takes a folder of MS-CMRSeg scans)")
    else:
        lines.append(f"  Data      {plan.data.patients} patients in {plan.data.folder}")
    lines += [f"  Question  {space.question}" for space in plan.spaces]
    lines += [f"  Settings  {_settings(space)}" for space in plan.spaces]
    lines.append("  Arms      arm, train/validation/test, trials, epochs each, expected minutes (at most)")
    lines += [f"            {_arm(plan, arm)}" for arm in plan.arms]
    each = f"{resources.cpus_per_trial:g} CPU" + (
        f", {resources.gpus_per_trial:g} GPU" if resources.gpus_per_trial else ""
    )
    lines += [
        f"  Machine   {resources.concurrent} trials at once on {resources.device}, {each} each",
        *([f"  Cluster   {plan.address}, {told(plan.nodes)}"] if plan.address else []),
        f"  Time      {_time(plan)}",
        *_disk(plan),
        "  Test      patients stay sealed until the selection of every arm is recorded",
        f"  Tracking  {plan.tracking_uri}",
        f"  Output    {plan.folder}",
        f"  Cache     {plan.cache}",
    ]
    return "\n".join(lines)


def _settings(space: SearchSpace) -> str:
    fixed = ", ".join(f"{key} = {value}" for key, value in space.fixed.items())
    return f"{space.name}: {space.settings}" + (f", with {fixed}" if fixed else "")


def _arm(plan: Plan, arm: Arm) -> str:
    minutes, share = arm_minutes(plan, arm), budget_share_minutes(plan, arm)
    limit = "" if share is None else f" ({share:.1f})"
    fidelity = arm.space.fidelity
    return (
        f"{arm.name:<14} {arm.split.counts!s:<9} {arm.space.budget.num_samples:>3} trials of "
        f"{fidelity.grace_epochs}-{fidelity.max_epochs} epochs, "
        f"{'unknown time' if minutes is None else f'{minutes:.1f} min'}{limit}"
    )


def _disk(plan: Plan) -> list[str]:
    models, running, ledger = model_megabytes(plan), checkpoint_megabytes(plan), ledger_megabytes(plan)
    return [
        f"  Disk      at most {models:.1f} MB of models, as much in the tracking store,",
        f"            {running:.1f} MB for each trial under way, {ledger:.1f} MB of ledger (it serves a late store)",
    ]


def _time(plan: Plan) -> str:
    minutes = expected_minutes(plan)
    if minutes is None:
        return "unknown: no epoch was ever measured on this device"
    scaled = any(relative_work(arm.space.settings_of(arm.model)) != 1 for arm in plan.arms)
    rough = f", roughly: scaled from what {MEASURED_SETTINGS} takes by the size of the networks" if scaled else ""
    return f"about {minutes:.0f} minutes in all{rough}"
