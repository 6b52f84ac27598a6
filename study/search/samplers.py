"""Optuna's samplers by name, with the arguments that a search file may state, and what each can draw."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from functools import reduce
from importlib.util import find_spec
from operator import or_
from typing import Any

import optuna
from pydantic import TypeAdapter, ValidationError

from jointnet.errors import short_repr
from study.search.parameters import Choices, Parameter
from study.search.space import Search

STARTUP_TRIALS = 5
"""Number of trials that a model-based sampler draws at random before it fits its model."""
GRID = "grid"
FOR_SEVERAL = ("tpe", "gp", "random", "qmc", GRID)
"""Samplers that can draw for an objective of several metrics."""
REPLAYED = ("cmaes", "qmc")
"""Samplers whose suggestion also depends on their own earlier ones."""
CLASSES: Mapping[str, tuple[type[optuna.samplers.BaseSampler], Mapping[str, Any]]] = {
    "tpe": (
        optuna.samplers.TPESampler,
        {"multivariate": True, "constant_liar": True, "n_startup_trials": STARTUP_TRIALS},
    ),
    "gp": (optuna.samplers.GPSampler, {"n_startup_trials": STARTUP_TRIALS}),
    "cmaes": (optuna.samplers.CmaEsSampler, {"consider_pruned_trials": True}),
    "random": (optuna.samplers.RandomSampler, {}),
    "qmc": (optuna.samplers.QMCSampler, {"scramble": True}),
}
"""Optuna's class of each sampler, and the arguments that differ from its own defaults. The grid is our own, because
Optuna's keeps what it has tried in its storage only, and knows no conditions."""
_PLAIN: Mapping[str, Any] = {"bool": bool, "int": int, "float": float, "str": str, "None": type(None)}
_PACKAGES = {"cmaes": "cmaes"}


def make_sampler(search: Search, seed: int, **arguments: Any) -> optuna.samplers.BaseSampler:
    """Return Optuna's sampler of a search.

    Args:
        search: its name and the file's arguments.
        seed: seed of the sampler.
        arguments: arguments that follow from the parameters.
    """
    kind, own = CLASSES[search.sampler]
    return kind(**{**own, **arguments, **search.options, "seed": seed})


def options_of(sampler: str) -> dict[str, TypeAdapter[Any]]:
    """Return the arguments of a sampler that a search file may state: those with plain values, apart from the seed."""
    if sampler == GRID:
        return {}
    found = {}
    for name, parameter in inspect.signature(CLASSES[sampler][0].__init__).parameters.items():
        kinds = str(parameter.annotation).split(" | ")
        if name not in ("self", "seed") and not name.startswith("warn_") and set(kinds) <= set(_PLAIN):
            found[name] = TypeAdapter[Any](reduce(or_, [_PLAIN[kind] for kind in kinds]))
    return found


def sampler_errors(search: Search, parameters: Sequence[Parameter]) -> Iterator[str]:
    """Yield an error for each option that the sampler does not take, and each parameter that it cannot draw.

    Args:
        search: the sampler and its options.
        parameters: the parameters of one arm.
    """
    name = search.sampler
    package = _PACKAGES.get(name)
    if package is not None and find_spec(package) is None:
        yield f"sampler: {name} needs the package {package}, which is not installed (pip install {package})"
    options = options_of(name)
    wrong = [*_option_errors(name, search.options, options)]
    yield from wrong
    if not wrong and name != GRID and (package is None or find_spec(package) is not None):
        try:
            make_sampler(search, 0)
        except (TypeError, ValueError) as error:
            yield f"options: must be accepted by Optuna's {CLASSES[name][0].__name__}, got an error: {error}"
    for parameter in parameters:
        if name == "cmaes" and isinstance(parameter.domain, Choices):
            yield f"sampler: must be another than cmaes, which draws numbers only, for the choices of {parameter.name}"
        if name in ("gp", "cmaes", "qmc") and parameter.when:
            yield f"sampler: must be tpe, random or grid for the condition of {parameter.name}, got {name}"
        if name == GRID and parameter.domain.values is None:
            yield f"sampler: must be another than grid, or parameters.{parameter.name} have choices or a step"


def _option_errors(name: str, given: Mapping[str, Any], options: Mapping[str, TypeAdapter[Any]]) -> Iterator[str]:
    for key, value in given.items():
        if key not in options:
            listed = ", ".join(options) or "(none)"
            yield f"options.{key}: must be an option of {name}, {listed}, got {short_repr(value)}"
            continue
        try:
            options[key].validate_python(value, strict=True)
        except ValidationError as error:
            rule = error.errors()[0]["msg"].removeprefix("Input s").replace("hould", "must", 1)
            yield f"options.{key}: {rule}, got {short_repr(value)}"
