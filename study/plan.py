"""The plan of a study: its arms, trials, epochs and expected minutes, and where everything goes. Nothing runs here."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jointnet.faults import SettingsFaultError
from jointnet.settings import settings_to_dict
from study.space import Fidelity, SearchSpace
from study.splits import Split

SECONDS_PER_PATIENT_EPOCH = {"joint": 0.5, "standalone": 0.25}
"""One epoch of one training patient on one CPU core (phantom, shipped searches); measured, good to a factor of two."""
MINUTES_BESIDE_SEARCH = 1.5
"""Ray's start, the cache, the sealed test and the report."""


@dataclass(frozen=True)
class Data:
    """Where the scans come from: the built-in phantom or a folder of the user's."""

    kind: str
    folder: Path
    patients: int


@dataclass(frozen=True)
class Resources:
    """What one trial gets, on `cpu` or `cuda`, and how many run at once (None: as many as the cluster holds)."""

    concurrent: int | None
    cpus_per_trial: float
    gpus_per_trial: float
    device: str


@dataclass(frozen=True)
class Arm:
    """One model with one split, searched by itself."""

    model: str
    split: Split
    space: SearchSpace

    @property
    def name(self) -> str:
        """Name such as `joint-25`."""
        return f"{self.model}-{self.split.counts.train}"

    @property
    def expected_epochs(self) -> float:
        """Epochs of all trials together that the search probably needs."""
        return expected_epochs(self.space.fidelity, self.space.budget.num_samples)


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before a study starts."""

    study_id: str
    started: datetime
    arms: tuple[Arm, ...]
    data: Data
    resources: Resources
    seed: int
    out: Path
    cache: Path
    tracking_uri: str

    @property
    def folder(self) -> Path:
        """Folder of everything that the study writes but the tracking store and the cache."""
        return self.out / self.study_id

    def arm_folder(self, arm: Arm) -> Path:
        """Folder of an arm's trials."""
        return self.folder / arm.name

    @property
    def spaces(self) -> tuple[SearchSpace, ...]:
        """The searches of the study, each once."""
        return tuple({arm.space.name: arm.space for arm in self.arms}.values())

    @property
    def splits(self) -> dict[str, Split]:
        """The splits of the study by their counts."""
        return {str(arm.split.counts): arm.split for arm in self.arms}


def make_arms(spaces: Sequence[SearchSpace], splits: Sequence[Split]) -> tuple[Arm, ...]:
    """Cross every search's models with the splits.

    Raises:
        SettingsFaultError: where two searches ask for the same arm.
    """
    arms = tuple(Arm(model, split, space) for space in spaces for model in space.models for split in splits)
    names = [arm.name for arm in arms]
    asked_by = {name: [arm.space.name for arm in arms if arm.name == name] for name in names}
    faults = [
        f"--search: arm {name} must come from one search only, got {' and '.join(searches)}"
        for name, searches in asked_by.items()
        if len(searches) > 1
    ]
    if faults:
        raise SettingsFaultError(faults)
    return arms


def make_plan(
    arms: tuple[Arm, ...],
    *,
    data: Data,
    resources: Resources,
    seed: int,
    out: Path,
    cache: Path,
    tracking_uri: str,
    now: datetime,
) -> Plan:
    """Put a plan together; its study id is the moment and a digest of the specification."""
    plan = Plan("", now, arms, data, resources, seed, out.absolute(), cache.absolute(), tracking_uri)
    digest = hashlib.sha256(json.dumps(specification(plan), sort_keys=True).encode()).hexdigest()[:8]
    study_id = f"{now:%Y%m%d-%H%M%S}-{digest}"
    return Plan(study_id, now, arms, data, resources, seed, plan.out, plan.cache, tracking_uri)


def specification(plan: Plan) -> dict[str, Any]:
    """Give all that determines a study's result but the scans themselves, as plain values for JSON."""
    return {
        "objective": {"metric": plan.spaces[0].objective.metric, "direction": plan.spaces[0].objective.direction},
        "seed": plan.seed,
        "data": {"kind": plan.data.kind, "patients": plan.data.patients},
        "resources": {"concurrent": plan.resources.concurrent, "device": plan.resources.device},
        "searches": [_space(space) for space in plan.spaces],
        "splits": {counts: split.as_dict() for counts, split in plan.splits.items()},
        "arms": [
            {"arm": a.name, "search": a.space.name, "model": a.model, "split": str(a.split.counts)} for a in plan.arms
        ],
    }


def expected_epochs(fidelity: Fidelity, num_samples: int) -> float:
    """Give the epochs of all trials where at each rung one trial in `reduction_factor` goes on, but at least one."""
    epochs, reached, going_on = 0.0, 0, float(num_samples)
    rung = fidelity.grace_epochs
    while reached < fidelity.max_epochs:
        rung = min(rung, fidelity.max_epochs)
        epochs += going_on * (rung - reached)
        reached, rung = rung, rung * fidelity.reduction_factor
        going_on = max(1.0, going_on / fidelity.reduction_factor)
    return epochs


def seconds_per_epoch(arm: Arm) -> float:
    """Give the expected seconds of one epoch of one trial on one core, the validation included."""
    patients = arm.split.counts.train + 0.5 * arm.split.counts.validation
    return SECONDS_PER_PATIENT_EPOCH[arm.model] * patients


def arm_minutes(plan: Plan, arm: Arm) -> float:
    """Give the expected minutes of an arm's search: the estimate, at most its share of the time budget."""
    samples = arm.space.budget.num_samples
    at_once = min(plan.resources.concurrent or samples, samples)
    estimate = arm.expected_epochs * seconds_per_epoch(arm) / at_once / 60
    return min(estimate, budget_share_minutes(plan, arm) or estimate)


def budget_share_minutes(plan: Plan, arm: Arm) -> float | None:
    """Give an arm's equal share of its search's time budget, None without a limit."""
    minutes = arm.space.budget.minutes
    return None if minutes is None else minutes / sum(other.space.name == arm.space.name for other in plan.arms)


def expected_minutes(plan: Plan) -> float:
    """Give the expected minutes of the whole study."""
    return MINUTES_BESIDE_SEARCH + sum(arm_minutes(plan, arm) for arm in plan.arms)


def render(plan: Plan) -> str:
    """Write the plan for a terminal."""
    resources = plan.resources
    lines = [f"Study {plan.study_id}"]
    if plan.data.kind == "phantom":
        lines.append(f"  Data      BUILT-IN PHANTOM, not real scans: {plan.data.patients} synthetic patients")
        lines.append(f"            in {plan.data.folder} (--data DIR takes a folder of MS-CMRSeg scans)")
    else:
        lines.append(f"  Data      {plan.data.patients} patients in {plan.data.folder}")
    lines += [f"  Question  {space.question}" for space in plan.spaces]
    lines.append("  Arms      arm, train/validation/test, trials, epochs each, expected minutes (at most)")
    for arm in plan.arms:
        share = budget_share_minutes(plan, arm)
        limit = "" if share is None else f" ({share:.1f})"
        fidelity = arm.space.fidelity
        lines.append(
            f"            {arm.name:<14} {arm.split.counts!s:<9} {arm.space.budget.num_samples:>3} trials of "
            f"{fidelity.grace_epochs}-{fidelity.max_epochs} epochs, {arm_minutes(plan, arm):.1f} min{limit}"
        )
    each = f"{resources.cpus_per_trial:g} CPU" + (
        f", {resources.gpus_per_trial:g} GPU" if resources.gpus_per_trial else ""
    )
    at_once = resources.concurrent or "as many as the cluster holds"
    lines += [
        f"  Machine   {at_once} trials at once on {resources.device}, {each} each",
        f"  Time      about {expected_minutes(plan):.0f} minutes in all",
        "  Test      patients stay sealed until the selection of every arm is recorded",
        f"  Tracking  {plan.tracking_uri}",
        f"  Output    {plan.folder}",
        f"  Cache     {plan.cache}",
    ]
    return "\n".join(lines)


def _space(space: SearchSpace) -> dict[str, Any]:
    return {
        "name": space.name,
        "question": space.question,
        "models": list(space.models),
        "settings": {model: settings_to_dict(space.settings_of(model)) for model in space.models},
        "parameters": {
            parameter.name: {
                "low": parameter.low,
                "high": parameter.high,
                "scale": parameter.scale,
                "models": list(parameter.models),
                "why": parameter.why,
            }
            for parameter in space.parameters
        },
        "fidelity": vars(space.fidelity),
        "budget": vars(space.budget),
    }
