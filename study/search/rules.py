"""The rules between the values of a search file: its methods, and the parameters that each of them has.

Every function takes the tables of a file as plain values, of which invalid ones are left out, so that all errors of a
file come at once.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from jointnet.errors import SettingsError, short_repr
from jointnet.models import MODELS, NAME, NAME_WORDS, model_of
from jointnet.settings import Settings, with_values
from study.search.space import LAMBDAS, RATIOS, SHORT_NAMES, Method, has_effect, value_of
from study.search.split_counts import parse_counts

NOT_FIXED = {"model.name": "`models` or `arms.NAME.model`", "training.epochs": "the key `fidelity.max_epochs`"}
"""Settings that another key of the file determines."""
LARGEST_RATIO = 1e6
"""Largest ratio of two lambdas. Beyond it one term of the loss is lost in rounding."""
MOST_INTEGERS = 64
"""Number of whole numbers from one bound of a parameter to the other up to which each of them is checked."""


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


def parameter_methods(table: Mapping[str, Any], methods: Sequence[Method]) -> tuple[str, ...]:
    """Return the names of the methods that a parameter applies to: all, or those of its models or arms."""
    names, models = table.get("arms"), table.get("models")
    return tuple(
        method.name
        for method in methods
        if (names is None or method.name in names) and (models is None or method.model in models)
    )


def contradictions(
    content: Mapping[str, Any], valid: Mapping[str, Any], base: Settings, methods: Sequence[Method]
) -> Iterator[str]:
    """Yield an error for each invalid combination of the valid values of a file."""
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
    for name, table in valid.get("parameters", {}).items():
        where = f"parameters.{name}"
        own = [method for method in methods if method.name in parameter_methods(table, methods)]
        yield from (f"{where}: {line}" for line in _fixed_errors(name, valid.get("fixed", {}), own))
        if wrong := [*_choice_errors(table, methods)]:
            yield from (f"{where}.{line}" for line in wrong)
            continue
        yield from (f"{where}.{line}" for line in _effect_errors(name, table, own, methods, base))
        settings = [method.settings(base) for method in own] or [base]
        bounds = [*dict.fromkeys(line for each in settings for line in _bound_errors(name, table, each))]
        yield from (f"{where}.{line}" for line in bounds)
        if not bounds and valid.get("budget", {}).get("settings_first"):
            yield from _first_errors(name, table, own, base)


def _name_errors(name: str, model: str | None, seen: Mapping[str, str]) -> Iterator[str]:
    """Yield the errors of an arm's name. `seen` has the names before it, by their lower case."""
    if NAME.fullmatch(name) is None:
        yield (f"arms: a name must have {NAME_WORDS}, such as joint-guided, got {short_repr(name)}")
    if name.lower() in seen:
        yield f"arms.{name}: must differ from arms.{seen[name.lower()]} in more than upper and lower case"
    if name in MODELS and model is not None and model != name:
        yield f"arms.{name}: must have the model of its name, {name}, or another name, got model = {short_repr(model)}"


def _fixed_errors(name: str, fixed: Mapping[str, Any], methods: Sequence[Method]) -> Iterator[str]:
    """Yield an error for each value of the file or of a parameter's methods that fixes what the parameter searches."""
    tables = {"fixed": fixed, **{f"arms.{method.name}.fixed": method.fixed for method in methods}}
    for key in LAMBDAS if name in RATIOS else (SHORT_NAMES.get(name, name),):
        for where, table in tables.items():
            if key in table:
                yield f"must not be searched while {where}.{key} holds {short_repr(table[key])}"


def _choice_errors(table: Mapping[str, Any], methods: Sequence[Method]) -> Iterator[str]:
    """Yield the errors of a parameter's lists of models and arms."""
    if "models" in table and "arms" in table:
        yield f"arms: must be left out where there is the key models, got {short_repr(table['arms'])}"
    present = {"models": [method.model for method in methods], "arms": [method.name for method in methods]}
    for key, names in present.items():
        if key in table and names and not set(table[key]) <= set(names):
            listed = ", ".join(dict.fromkeys(names))
            yield f"{key}: must be a list of the file's {key}, {listed}, got {short_repr(table[key])}"


def _effect_errors(
    name: str, table: Mapping[str, Any], own: Sequence[Method], methods: Sequence[Method], base: Settings
) -> Iterator[str]:
    """Yield an error for each method that a parameter applies to and cannot affect."""
    affected = [method for method in methods if has_effect(method.settings(base), name)]
    named = any(method.name != method.model for method in methods)
    key = "arms" if named and "models" not in table else "models"
    others = list(dict.fromkeys(method.name if key == "arms" else method.model for method in affected))
    correction = f"; write {key} = {json.dumps(others)}" if others else ""
    for method in own:
        if method not in affected:
            none_with = model_of(method.model).without_effect.get(name, {})
            values = " and ".join(f"{setting} = {value}" for setting, value in none_with.items())
            where = f" with {values}" if values else ""
            got = table.get(key, [each.name if key == "arms" else each.model for each in own])
            yield (
                f"{key}: must leave out {method.name if key == 'arms' else method.model}, on which {name} has no "
                f"effect{where}{correction}, got {short_repr(list(got))}"
            )


def _bound_errors(name: str, table: Mapping[str, Any], settings: Settings) -> Iterator[str]:
    """Yield the errors of the bounds of a parameter of one method."""
    bounds = {key: table[key] for key in ("low", "high") if key in table}
    low, high = bounds.get("low"), bounds.get("high")
    if low is not None and high is not None and low >= high:
        yield f"low: must be below high, {short_repr(high)}, got {short_repr(low)}"
    if low is not None and low <= 0 and table.get("scale") == "log":
        yield f"low: must be above 0 on a log scale, got {short_repr(low)}"
    if name not in RATIOS:
        errors = [f"{key}: {line}" for key, bound in bounds.items() for line in _setting_errors(settings, name, bound)]
        yield from errors
        if not errors and isinstance(low, int) and isinstance(high, int) and high - low < MOST_INTEGERS:
            yield from _between_errors(name, range(low + 1, high), settings)
        return
    if low is not None and low < 0:
        yield f"low: must be at least 0, got {short_repr(low)}"
    if high is not None and high > LARGEST_RATIO:
        yield f"high: must be at most {LARGEST_RATIO:g}, got {short_repr(high)}"


def _between_errors(name: str, between: Iterable[int], settings: Settings) -> Iterator[str]:
    """Yield the error of the first invalid value between the bounds of a setting that is a whole number."""
    for value in between:
        for line in _setting_errors(settings, name, value):
            yield f"low, high: every whole number between them must be valid, got {value} ({line}); narrow the bounds"
            return


def _setting_errors(settings: Settings, name: str, value: Any) -> tuple[str, ...]:
    """Return the errors of a value of a searched setting. The name is left out where it is that of the parameter."""
    setting = SHORT_NAMES.get(name, name)
    try:
        with_values(settings, {setting: value})
    except SettingsError as error:
        return tuple(line.removeprefix(f"{setting}: ") for line in error.errors)
    return ()


def _first_errors(name: str, table: Mapping[str, Any], methods: Sequence[Method], base: Settings) -> Iterator[str]:
    """Yield an error for each method whose settings, its first trial, lie outside the bounds of a parameter."""
    if "low" not in table or "high" not in table:
        return
    for method in methods:
        value = value_of(method.settings(base), name)
        if not table["low"] <= value <= table["high"]:
            yield (
                f"budget.settings_first: {name} of {method.name} must lie in the bounds of parameters.{name}, "
                f"{table['low']:g} to {table['high']:g}, got {value:g}; widen the bounds or leave settings_first out"
            )
