"""The rules between the values of a search file: its methods, their samplers and first trials.

Every function takes the tables of a file as plain values, of which invalid ones are left out, so that all errors of a
file come at once.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from jointnet.errors import SettingsError, short_repr
from jointnet.models import MODELS, NAME, NAME_WORDS, model_of
from jointnet.settings import Settings
from study.search.file.objective_rules import key_errors, objective_errors, several_errors
from study.search.file.parameter_rules import parameter_errors
from study.search.file.split_counts import parse_counts
from study.search.first_trials import first_samples
from study.search.samplers import sampler_errors
from study.search.space import Method, SearchSpace

NOT_FIXED = {"model.name": "`models` or `arms.NAME.model`", "training.epochs": "the key `fidelity.max_epochs`"}
"""Settings that another key of the file determines."""


def methods_of(
    content: Mapping[str, Any], valid: Mapping[str, Any], base: Settings
) -> tuple[tuple[Method, ...], list[str]]:
    """Return the valid methods of a file, and the errors of the others.

    Args:
        content: the tables of the file.
        valid: the same without invalid values.
        base: the settings that all methods have in common.
    """
    methods, errors = [], list[str]()
    if "arms" in content and "models" in content:
        errors.append(f"models: must be left out of a file with [arms.NAME], got {short_repr(content['models'])}")
    if "arms" not in content and "models" not in content:
        errors.append("models: is missing; must be a list of models, or tables [arms.NAME]")
    if "arms" in content:
        candidates, name_errors = _named_methods(valid.get("arms", {}))
        errors += name_errors
    else:
        candidates = {f"models: {model}: ": Method(model, model) for model in valid.get("models", ())}
    options = {key: value for key, value in valid.get("fixed", {}).items() if is_option(key)}
    for where, method in candidates.items():
        try:
            model = model_of(method.model)
            own = method if model.options is None else replace(method, fixed={**options, **method.fixed})
            own = own if method.name != method.model else replace(own, name=model.name)
            own.settings(base)
            methods.append(own)
        except SettingsError as error:
            errors += [f"{where}{line}" for line in error.errors]
    if options and not errors and not any(key in method.fixed for key in options for method in methods):
        errors += [f"fixed.{key}: must be left out, since no model of the file has options" for key in options]
    names = [method.name for method in methods]
    if "arms" not in content and len(set(names)) < len(names):
        errors.append(f"models: must have different names, got {', '.join(names)}; [arms.NAME] gives others")
    return tuple(methods), errors


def _named_methods(tables: Mapping[str, Mapping[str, Any]]) -> tuple[dict[str, Method], list[str]]:
    """Return the methods of the tables [arms.NAME] by the place of their fixed values, and errors of the others."""
    methods, errors, seen = dict[str, Method](), list[str](), dict[str, str]()
    for name, table in tables.items():
        model, fixed = table.get("model"), table.get("fixed", {})
        own = [*_name_errors(name, model, seen), *not_fixed_errors(f"arms.{name}.fixed", fixed)]
        seen[name.lower()] = name
        errors += own
        if model is not None and not own:
            methods[f"arms.{name}.fixed."] = Method(name, model, fixed)
    return methods, errors


def is_option(key: str) -> bool:
    """Return whether a settings key is of a model's own settings, which other models do not have."""
    return key == "model.options" or key.startswith("model.options.")


def not_fixed_errors(where: str, fixed: Mapping[str, Any]) -> Iterator[str]:
    """Yield an error for each fixed setting that another key of the file determines."""
    for key, other in NOT_FIXED.items():
        if key in fixed:
            yield f"{where}.{key}: must be left to {other}, got {short_repr(fixed[key])}"


def contradictions(
    content: Mapping[str, Any], valid: Mapping[str, Any], base: Settings, methods: Sequence[Method], every: bool
) -> Iterator[str]:
    """Yield an error for each invalid combination of the valid values of a file.

    `every` says whether `methods` are all methods of the file; otherwise others of them are invalid.
    """
    try:
        parse_counts(valid.get("splits", ()))
    except SettingsError as error:
        yield from (f"splits: {line}" for line in error.errors)
    fidelity = valid.get("fidelity", {})
    most, grace = fidelity.get("max_epochs"), fidelity.get("grace_epochs")
    if most is not None and grace is not None and grace > most:
        yield f"fidelity.grace_epochs: must be at most max_epochs, {most}, got {grace}"
    if content.get("parameters") and "budget" not in content:
        yield "budget: is missing; must be a table with num_samples where there are parameters"
    if isinstance(content.get("objective"), Mapping):
        yield from (f"objective.{line}" for line in key_errors(content["objective"]))
    if "metrics" in valid.get("objective", {}):
        yield from (f"search.{line}" for line in several_errors(valid.get("search", {})))
    if methods:
        own = {method.name: method.settings(base) for method in methods}
        yield from (f"objective.{line}" for line in objective_errors(valid.get("objective", {}), own))
    yield from parameter_errors(valid.get("parameters", {}), valid.get("fixed", {}), base, methods, every)


def together_errors(space: SearchSpace) -> Iterator[str]:
    """Yield the errors of a space whose tables and parameters are valid by themselves: its sampler and first trials."""
    names = {parameter.name for parameter in space.parameters}
    for number, values in enumerate(space.search.seed_trials or ()):
        for name in sorted(set(values) - names):
            known = ", ".join(sorted(names)) or "(none)"
            yield f"search.seed_trials[{number}].{name}: must be a parameter of the file, {known}"
    found = dict[str, None]()
    for method in space.methods:
        parameters = space.parameters_of(method.name)
        found |= dict.fromkeys(sampler_errors(space.search, parameters))
        _, errors = first_samples(parameters, space.settings_of(method.name), space.search.seed_trials)
        found |= {f"{line} (arm {method.name})": None for line in errors}
    yield from (f"search.{line}" for line in found)


def _name_errors(name: str, model: str | None, seen: Mapping[str, str]) -> Iterator[str]:
    """Yield the errors of an arm's name. `seen` has the names before it, by their lower case."""
    if NAME.fullmatch(name) is None:
        yield (f"arms: a name must have {NAME_WORDS}, such as joint-guided, got {short_repr(name)}")
    if name.lower() in seen:
        yield f"arms.{name}: must differ from arms.{seen[name.lower()]} in more than upper and lower case"
    if name in MODELS and model is not None and model != name:
        yield f"arms.{name}: must have the model of its name, {name}, or another name, got model = {short_repr(model)}"
