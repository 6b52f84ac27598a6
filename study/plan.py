"""The plan of a study: its arms, their searches and splits, and where everything goes. Nothing runs here."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from jointnet.faults import SettingsFaultError
from jointnet.settings import settings_to_dict
from study.space import SearchSpace
from study.splits import Split


@dataclass(frozen=True)
class Data:
    """Where the scans come from: the built-in phantom or a folder of the user's.

    Attributes:
        fingerprint: of the training and validation patients' files; of the phantom, what it is made from.
    """

    kind: str
    folder: Path
    patients: int
    fingerprint: str


@dataclass(frozen=True)
class Node:
    """A machine that trials may run on: its name, CPU cores and GPUs."""

    name: str
    cpus: float
    gpus: float


@dataclass(frozen=True)
class Resources:
    """What one trial gets, on `cpu` or `cuda`, and how many run at once."""

    concurrent: int
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


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before a study starts.

    Attributes:
        study_id: see `study.identity`; "" until it is known.
        started: when this command was.
        address: of the cluster; None for Ray on this machine.
        nodes: the machines that trials may run on.
        continues: whether the study was begun by an earlier command.
    """

    study_id: str
    started: datetime
    arms: tuple[Arm, ...]
    data: Data
    resources: Resources
    seed: int
    out: Path
    cache: Path
    tracking_uri: str
    address: str | None = None
    nodes: tuple[Node, ...] = ()
    continues: bool = False

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
    address: str | None = None,
    nodes: tuple[Node, ...] = (),
) -> Plan:
    """Put a plan together; which study it is, new or begun before, `study.identity` says."""
    return Plan("", now, arms, data, resources, seed, out.absolute(), cache.absolute(), tracking_uri, address, nodes)


def specification(plan: Plan) -> dict[str, Any]:
    """Give all that determines a study's result, the scans by their fingerprint, as plain values for JSON."""
    return {
        "objective": {"metric": plan.spaces[0].objective.metric, "direction": plan.spaces[0].objective.direction},
        "seed": plan.seed,
        "data": {"kind": plan.data.kind, "patients": plan.data.patients, "fingerprint": plan.data.fingerprint},
        "resources": {"concurrent": plan.resources.concurrent, "device": plan.resources.device},
        "searches": [_space(space) for space in plan.spaces],
        "splits": {counts: split.as_dict() for counts, split in plan.splits.items()},
        "arms": [
            {"arm": a.name, "search": a.space.name, "model": a.model, "split": str(a.split.counts)} for a in plan.arms
        ],
    }


def _space(space: SearchSpace) -> dict[str, Any]:
    return {
        "name": space.name,
        "question": space.question,
        "models": list(space.models),
        "base": space.settings,
        "fixed": dict(space.fixed),
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
