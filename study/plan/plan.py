"""The plan of a study as frozen values: its arms with their searches and splits, data, resources and folders."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from jointnet.data.description import Dataset
from jointnet.errors import SettingsError
from jointnet.evaluate.aggregation import endpoints_of
from jointnet.models import model_of
from jointnet.own_code import digests
from jointnet.settings import Settings, own_code_of, settings_to_dict
from jointnet.settings.parsing import flat_settings
from jointnet.structures import STRUCTURES
from jointnet.train.objective import Objective
from study.arm_differences import LENGTH, SEARCHED, TRAIN, UNLABELLED, VALIDATION, WARM_START, WEIGHTS, length_text
from study.plan.splits import Split
from study.search.first_trials import first_samples
from study.search.parameters import RATIOS, Parameter, has_effect
from study.search.space import Budget, SearchSpace

WAIT_MINUTES = 15.0
"""Default time limit of a wait for a node. Most clouds start a machine with a container in less."""


@dataclass(frozen=True)
class PseudoLabels:
    """Patients without labels, and the model that predicts theirs. Every arm whose model segments learns from them.

    Attributes:
        patients: their names.
        teacher: the model file.
        sha256: digest of that file.
        seen: patients that the teacher was trained or validated on.
    """

    patients: tuple[str, ...]
    teacher: Path
    sha256: str
    seen: tuple[str, ...]


@dataclass(frozen=True)
class Data:
    """The source of the scans: the built-in phantom or a folder of the user.

    Attributes:
        fingerprint: fingerprint of the files of the training and validation patients; for the phantom, of the input
            that it is generated from.
        structures: the structures that are labelled. Models, objective and tables have no others.
        dataset: the description of the folder; None for the phantom.
        notes: lines about files of the folder that are not read.
        partly: patients of whom not both scans are labelled. A model that only registers learns nothing from them.
        pseudo_labels: the patients without labels; None if none takes part.
    """

    kind: str
    folder: Path
    patients: int
    fingerprint: str
    structures: tuple[str, ...] = STRUCTURES
    dataset: Dataset | None = None
    notes: tuple[str, ...] = ()
    partly: tuple[str, ...] = ()
    pseudo_labels: PseudoLabels | None = None


@dataclass(frozen=True)
class Node:
    """A machine that trials may run on: its name, CPU cores, GPUs and memory.

    `memory_bytes` limits the number of trials. It is None, no limit, for the nodes of a cluster. `is_head` tells the
    head of a cluster, which no autoscaler starts or ends.
    """

    name: str
    cpus: float
    gpus: float
    memory_bytes: int | None = None
    is_head: bool = False


@dataclass(frozen=True)
class Autoscaler:
    """The autoscaler of a cluster.

    Attributes:
        nodes: the nodes that it may have at the same time, the head not among them; None where they cannot be read.
        most: largest number of them at the same time.
    """

    nodes: tuple[Node, ...] | None
    most: int


@dataclass(frozen=True)
class Transfer:
    """How prepared patients reach the workers, and models and checkpoints the driver's disk.

    Attributes:
        through_ray: whether through Ray; otherwise in folders that all nodes see.
        reason: the reason; "" on this machine alone.
    """

    through_ray: bool = False
    reason: str = ""


@dataclass(frozen=True)
class Resources:
    """The resources of one trial, its device (`cpu` or `cuda`), and the expected number of concurrent trials."""

    concurrent: int
    cpus_per_trial: float
    gpus_per_trial: float
    device: str

    @property
    def threads(self) -> int:
        """The threads of torch with which a model is trained, and predicts where the result is part of the study."""
        return max(1, int(self.cpus_per_trial))


@dataclass(frozen=True)
class Design:
    """The evaluation design of the study.

    Attributes:
        folds: outer folds of the cross-validation; 1 is a single split.
        same_validation: whether all splits of a fold have the same validation patients.
        seeds: number of new seeds to retrain the winner of each arm and fold with; 0 tests the tuned model itself.
        splits_file: the file that states the splits; None where the seed decides them.
    """

    folds: int = 1
    same_validation: bool = False
    seeds: int = 0
    splits_file: str | None = None


@dataclass(frozen=True)
class Arm:
    """One method with one split in one fold. Each arm has its own search, selection and test evaluation.

    Attributes:
        method: name of the method in the search space: a model's name, or NAME of `[arms.NAME]`.
        fold, folds: number of the outer fold, from 1, and number of folds; both 1 without cross-validation.
    """

    method: str
    split: Split
    space: SearchSpace
    fold: int = 1
    folds: int = 1

    @property
    def name(self) -> str:
        """The name, such as `joint-25`, the same in all folds."""
        return f"{self.method}-{self.split.counts.train}"

    @property
    def model(self) -> str:
        """The name of the model, or the reference to one of the user's own."""
        return self.space.method(self.method).model

    @property
    def own_code(self) -> tuple[str, ...]:
        """The references to the user's own code that the trials run."""
        names = [parameter.name for parameter in self.parameters]
        drawn = (name.removeprefix("loss.terms.") for name in names if name.startswith("loss.terms."))
        return tuple(dict.fromkeys((*own_code_of(self.settings), *drawn)))

    @cached_property
    def settings(self) -> Settings:
        """The settings before a sample is applied."""
        return self.space.settings_of(self.method)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        """The searched parameters."""
        return self.space.parameters_of(self.method)

    @cached_property
    def first_samples(self) -> tuple[Mapping[str, Any], ...]:
        """The samples of the first trials, which are not drawn."""
        return self.space.first_samples_of(self.method)

    @property
    def begins_with_settings(self) -> bool:
        """Return whether the first trial has the settings themselves."""
        own, _ = first_samples(self.parameters, self.settings, None)
        return bool(own) and self.first_samples[:1] == own

    @property
    def budget(self) -> Budget:
        """The trials and minutes of the search."""
        return self.space.budget_of(self.method)

    @property
    def key(self) -> str:
        """The unique name within the study: `joint-25`, or `fold-2/joint-25` where there are folds."""
        return f"{self._fold_prefix}{self.name}"

    @property
    def split_key(self) -> str:
        """The name of the split within the study: `25/15/5`, or `fold-2/25/15/9` where there are folds."""
        return f"{self._fold_prefix}{self.split.counts}"

    @property
    def _fold_prefix(self) -> str:
        return "" if self.folds == 1 else f"fold-{self.fold}/"


@dataclass(frozen=True)
class Plan:
    """Everything that is decided before a study starts.

    Attributes:
        study_id: see `study.plan.identity`; "" until it is known.
        started: start time of this command.
        address: address of the cluster; None for Ray on this machine.
        nodes: the machines that trials may run on.
        remarks: further lines about the design for the text of the plan.
        continues: whether an earlier command started the study.
        transfer: how patients and models get to and from the nodes. It is no part of what determines the result.
        autoscaler: the autoscaler of the cluster; None where it has none.
        at_once: largest number of concurrent trials; None for as many as fit, on a cluster at each moment.
        wait_minutes: minutes to wait for a node that a trial fits on.
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
    design: Design = Design()
    remarks: tuple[str, ...] = ()
    continues: bool = False
    transfer: Transfer = Transfer()
    autoscaler: Autoscaler | None = None
    at_once: int | None = None
    wait_minutes: float = WAIT_MINUTES

    @property
    def title(self) -> str:
        """The searches and the start of the study, such as `joint 20261130-104707`, in the names of its runs."""
        return f"{'+'.join(space.name for space in self.spaces)} {self.study_id.rpartition('-')[0] or self.study_id}"

    @property
    def most_at_once(self) -> float:
        """The largest number of concurrent trials: infinite where it follows the nodes of a cluster."""
        return self.at_once or (self.resources.concurrent if self.address is None else math.inf)

    @property
    def folder(self) -> Path:
        """The folder of all files that the study writes, except the tracking store and the cache."""
        return self.out / self.study_id

    def arm_folder(self, arm: Arm) -> Path:
        """Return the folder of an arm's trials, such as `runs/ID/joint-25` or `runs/ID/fold-2/joint-25`."""
        return self.folder / arm.key

    @property
    def spaces(self) -> tuple[SearchSpace, ...]:
        """The search spaces of the study, each once."""
        return tuple({arm.space.name: arm.space for arm in self.arms}.values())

    @property
    def objective(self) -> Objective:
        """The metric that ranks the trials of all searches."""
        return self.spaces[0].objective

    @property
    def splits(self) -> dict[str, Split]:
        """The splits of the study by `Arm.split_key`."""
        return {arm.split_key: arm.split for arm in self.arms}


def make_arms(spaces: Sequence[SearchSpace], splits: Sequence[Split], fold: int = 1, folds: int = 1) -> tuple[Arm, ...]:
    """Create an arm for each search space, each of its methods and each split of a fold.

    Raises:
        SettingsError: two search spaces have the same arm.
    """
    arms = tuple(
        Arm(method.name, split, space, fold, folds) for space in spaces for method in space.methods for split in splits
    )
    names = [arm.name for arm in arms]
    searches_of = {name: [arm.space.name for arm in arms if arm.name == name] for name in names}
    errors = [
        f"--search: arm {name} must come from one search only, got {' and '.join(searches)}"
        for name, searches in searches_of.items()
        if len(searches) > 1
    ]
    if errors:
        raise SettingsError(errors)
    return arms


def annotated_training(data: Data, arm: Arm) -> int:
    """Return the number of annotated patients that an arm learns from."""
    unused = () if model_of(arm.model).segments else data.partly
    return len(set(arm.split.train) - set(unused))


def unlabelled_training(data: Data, arm: Arm) -> int:
    """Return the number of patients without labels that an arm learns from."""
    return len(data.pseudo_labels.patients) if data.pseudo_labels and model_of(arm.model).segments else 0


def given(data: Data, arm: Arm) -> dict[str, str]:
    """Return an arm's data and settings, as texts for `study.arm_differences`.

    Settings that have no effect on the arm's model are left out. A model without segmentations has a fully connected
    head, whatever `model.head` is.
    """
    settings, learned = arm.settings, annotated_training(data, arm)
    model, training = model_of(settings.model.name), settings.training
    names = [parameter.name for parameter in arm.parameters]
    values = flat_settings(settings) | {"model.name": model.name}
    if not model.segments:
        values["model.head"] = "fully_connected"
    own = {key: _text(value) for key, value in values.items() if has_effect(settings, key)}
    own[TRAIN], own[VALIDATION] = str(learned), str(arm.split.counts.validation)
    if data.pseudo_labels:
        own[UNLABELLED] = str(unlabelled_training(data, arm))
    own[LENGTH] = length_text(training.steps, training.epochs, learned + unlabelled_training(data, arm))
    own[WARM_START] = "none" if arm.space.warm_start is None else arm.space.warm_start.study
    own[SEARCHED] = ", ".join(name for name in names if name not in RATIOS) or "none"
    own[WEIGHTS] = ", ".join(name for name in names if name in RATIOS) or "none"
    return own


def _text(value: Any) -> str:
    """Return a value of the settings as text."""
    if isinstance(value, tuple | list):
        return ", ".join(map(str, value))
    return f"{value:.6g}" if isinstance(value, float) else str(value)


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
    design: Design = Design(),
    remarks: tuple[str, ...] = (),
    transfer: Transfer = Transfer(),
    autoscaler: Autoscaler | None = None,
    at_once: int | None = None,
    wait_minutes: float = WAIT_MINUTES,
) -> Plan:
    """Create a plan without a study id, which `study.plan.identity` adds."""
    folders = out.absolute(), cache.absolute()
    return Plan(
        *("", now, arms, data, resources, seed, *folders, tracking_uri, address, nodes, design, remarks),
        transfer=transfer,
        autoscaler=autoscaler,
        at_once=at_once,
        wait_minutes=wait_minutes,
    )


def specification(plan: Plan) -> dict[str, Any]:
    """Return everything that determines a study's result as plain values for JSON, the scans by their fingerprint."""
    return {
        "objective": plan.objective.as_dict(),
        "endpoints": ["/".join(endpoint) for endpoint in endpoints_of(plan.data.structures)],
        "seed": plan.seed,
        **({"code": code} if (code := _code(plan)) else {}),
        "data": _data(plan.data),
        "resources": {"concurrent": plan.resources.concurrent, "device": plan.resources.device},
        "design": vars(plan.design),
        "searches": [_space(space) for space in plan.spaces],
        "splits": {name: split.as_dict() for name, split in plan.splits.items()},
        "arms": [_arm(arm) for arm in plan.arms],
    }


def _code(plan: Plan) -> dict[str, str]:
    """Return the digest of the user's own code by the reference to it."""
    return digests(dict.fromkeys(reference for arm in plan.arms for reference in arm.own_code))


def _data(data: Data) -> dict[str, Any]:
    content = {"kind": data.kind, "patients": data.patients, "fingerprint": data.fingerprint}
    pseudo = data.pseudo_labels
    return content if pseudo is None else {**content, "unlabelled": list(pseudo.patients), "teacher": pseudo.sha256}


def _arm(arm: Arm) -> dict[str, Any]:
    content = {
        "arm": arm.name,
        "search": arm.space.name,
        "method": arm.method,
        "model": arm.model,
        "split": str(arm.split.counts),
        "settings_first": bool(arm.parameters) and arm.begins_with_settings,
    }
    return content if arm.folds == 1 else {**content, "fold": arm.fold, "folds": arm.folds}


def _space(space: SearchSpace) -> dict[str, Any]:
    return {
        "name": space.name,
        "question": space.question,
        "methods": {method.name: {"model": method.model, "fixed": dict(method.fixed)} for method in space.methods},
        "base": space.settings,
        "fixed": dict(space.fixed),
        "settings": {method.name: settings_to_dict(space.settings_of(method.name)) for method in space.methods},
        "parameters": {
            parameter.name: {
                **parameter.domain.as_dict(),
                **({"when": {name: list(values) for name, values in parameter.when.items()}} if parameter.when else {}),
                "methods": list(parameter.methods),
                "why": parameter.why,
            }
            for parameter in space.parameters
        },
        "fidelity": vars(space.fidelity),
        "budget": vars(space.budget),
        "search": vars(space.search),
        **({} if space.warm_start is None else {"warm_start": vars(space.warm_start)}),
        "claim": {} if space.margin_mm is None else {"margin_mm": space.margin_mm},
    }
