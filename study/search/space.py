"""Search spaces as frozen values: objective, epochs, budget, sampler, and what is compared."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass as validated

from jointnet.settings import Settings, with_epochs, with_values
from jointnet.settings.schema import TABLE
from jointnet.train.objective import Objective
from study.search.first_trials import first_samples
from study.search.grid import grid_size
from study.search.parameters import Parameter, in_order

MOST_EPOCHS = 100_000


@validated(frozen=True, config=TABLE)
class Fidelity:
    """The epochs of ASHA."""

    max_epochs: Annotated[int, Field(ge=1, le=MOST_EPOCHS, strict=True)]
    """Epochs of a trial that is never pruned."""
    grace_epochs: Annotated[int, Field(ge=1, le=MOST_EPOCHS, strict=True)]
    """Epochs before which no trial is pruned, at most `max_epochs`. The first rung."""
    reduction_factor: Annotated[int, Field(ge=2, le=MOST_EPOCHS, strict=True)]
    """At each rung one trial in so many continues. The next rung is at as many times the epochs."""


@validated(frozen=True, config=TABLE)
class Search:
    """How samples are drawn, and when a trial is pruned."""

    sampler: Literal["tpe", "gp", "cmaes", "random", "qmc", "grid"] = "tpe"
    """Optuna's sampler: tree-structured Parzen estimators, Gaussian process, CMA-ES, random or quasi-random numbers, or
    every combination of the values once."""
    options: dict[str, bool | int | float | str] = field(default_factory=dict)
    """Arguments of Optuna's class of this sampler, such as `n_startup_trials`."""
    scheduler: Literal["asha", "median", "none"] = "asha"
    """Early stopping: ASHA, worse than the median of the complete trials at the same epoch, or none. An objective of
    several metrics has none."""
    seed_trials: tuple[dict[str, Any], ...] | None = None
    """Values by parameter that are tried first, in order; a parameter that is left out has the value of the settings.
    By default `[{}]`: the first trial has the settings themselves, where they lie in the search space."""
    warm_start: Annotated[str, Field(pattern=r"\S")] | None = None
    """Another study, by its id or its folder: its best points are tried after the `seed_trials`."""


@dataclass(frozen=True)
class WarmStart:
    """The points that a search takes from another study.

    Attributes:
        study: its id.
        points: its best samples in this search's space, by method.
        outside: number of better samples that lie outside, by method.
        patients: the patients that the points depend on. None of them is a test patient.
    """

    study: str
    points: Mapping[str, tuple[Mapping[str, Any], ...]]
    outside: Mapping[str, int]
    patients: tuple[str, ...]


@dataclass(frozen=True)
class Budget:
    """The budget of a search: number of trials and time.

    Attributes:
        num_samples: trials of each arm; None draws trials until the minutes are over.
        minutes: minutes of searching; None for no limit.
        per_arm: whether each arm has these minutes. Otherwise all arms of the file share them.
    """

    num_samples: int | None
    minutes: float | None
    per_arm: bool = False


@dataclass(frozen=True)
class Method:
    """A model with its own settings, which a search file compares. A method with a split of the patients is an arm.

    Attributes:
        name: NAME of `[arms.NAME]`, or the model's name in a file without such tables.
        model: name of the model, or the reference to one of the user's own.
        fixed: dotted settings keys and their values, which replace those of the file.
    """

    name: str
    model: str
    fixed: Mapping[str, Any] = field(default_factory=dict)

    def settings(self, base: Settings) -> Settings:
        """Return `base` with the model and the fixed values of this method.

        Raises:
            SettingsError: a fixed value breaks a rule of the settings.
        """
        return with_values(base, {"model.name": self.model, **self.fixed})


@dataclass(frozen=True)
class SearchSpace:
    """A search space, as read from a file of `search_spaces/`.

    Attributes:
        name: the file's name without `.toml`.
        question: the research question, one sentence.
        methods: what is compared. Each method with each split is an arm.
        settings: name or file of the base settings.
        base: the base settings with the `fixed` values applied.
        fixed: dotted settings keys and their values, which replace those of `settings`.
        objective: the metric that ranks the trials, and by which a trial keeps its best model; with further metrics of
            a Pareto front.
        parameters: the searched parameters.
        search: how samples are drawn, and when a trial is pruned.
        splits: split counts of this file, e.g. `6/3/3`; None uses those of the command line.
        phantom_patients: number of phantom patients when no data is given; None uses the command's default.
        file_epochs: `max_epochs` of the file, over which its `training.steps` are spread; None stands for those of the
            fidelity. Fewer epochs have fewer steps in proportion.
        warm_start: what is taken from the study that `search` names; None before it is read, and without one.
        margin_mm: non-inferiority margin in mm, of LV CD or by endpoint such as `cd_mm/lv`; None where the file makes
            no claim.
    """

    name: str
    question: str
    methods: tuple[Method, ...]
    settings: str
    base: Settings
    fixed: Mapping[str, Any]
    objective: Objective
    parameters: tuple[Parameter, ...]
    fidelity: Fidelity
    budget: Budget
    splits: tuple[str, ...] | None = None
    phantom_patients: int | None = None
    margin_mm: float | Mapping[str, float] | None = None
    search: Search = field(default_factory=Search)
    file_epochs: int | None = None
    warm_start: WarmStart | None = None

    def method(self, name: str) -> Method:
        """Return the method of a name."""
        return next(method for method in self.methods if method.name == name)

    def parameters_of(self, method: str) -> tuple[Parameter, ...]:
        """Return the parameters that are searched for a method. Each one follows those of its condition."""
        return in_order([parameter for parameter in self.parameters if method in parameter.methods])

    def settings_of(self, method: str) -> Settings:
        """Return the settings of a method before a sample is applied."""
        own = self.method(method).settings(self.base)
        whole = with_values(own, {"training.epochs": self.file_epochs or self.fidelity.max_epochs})
        return with_epochs(whole, self.fidelity.max_epochs)

    def budget_of(self, method: str) -> Budget:
        """Return the budget of an arm: one trial where nothing is searched, at most all points of a grid."""
        parameters, most = self.parameters_of(method), self.budget.num_samples
        if not parameters:
            return replace(self.budget, num_samples=1)
        points = grid_size(parameters) if self.search.sampler == "grid" else most
        return replace(self.budget, num_samples=points if most is None or points is None else min(most, points))

    def first_samples_of(self, method: str) -> tuple[Mapping[str, Any], ...]:
        """Return the samples of an arm's first trials, which are not drawn; none where the settings lie outside."""
        parameters, settings = self.parameters_of(method), self.settings_of(method)
        stated = first_samples(parameters, settings, self.search.seed_trials)[0]
        taken = () if self.warm_start is None else self.warm_start.points.get(method, ())
        return (*stated, *(sample for sample in taken if sample not in stated))


def with_overrides(
    space: SearchSpace,
    num_samples: int | None = None,
    max_epochs: int | None = None,
    minutes: float | None = None,
    equal_compute: bool = False,
) -> SearchSpace:
    """Return a search space with the budget of the command line. `grace_epochs` is limited to `max_epochs`.

    With `equal_compute` each arm has these minutes, and trials are drawn until they are over.
    """
    epochs = max_epochs or space.fidelity.max_epochs
    own = Budget(num_samples or space.budget.num_samples, minutes or space.budget.minutes)
    return replace(
        space,
        fidelity=replace(space.fidelity, max_epochs=epochs, grace_epochs=min(space.fidelity.grace_epochs, epochs)),
        file_epochs=space.file_epochs if max_epochs is None else space.file_epochs or space.fidelity.max_epochs,
        budget=Budget(None, own.minutes, per_arm=True) if equal_compute else own,
    )
