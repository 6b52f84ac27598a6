"""The rules of the parameters of a search file: their values, their conditions, and the arms that they apply to.

Every function takes the tables of a file as plain values, of which invalid ones are left out, so that all errors of a
file come at once.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from jointnet.errors import SettingsError, short_repr
from jointnet.models import model_of
from jointnet.settings import Settings, with_values
from study.search.file.domain_rules import domain_errors
from study.search.grid import grid_size, points
from study.search.parameters import (
    LAMBDAS,
    RATIOS,
    SHORT_NAMES,
    Choices,
    Parameter,
    Range,
    has_effect,
    in_order,
    value_of,
    value_text,
)
from study.search.space import Method

Table = Mapping[str, Any]
MOST_COMBINATIONS = 1000
"""Number of combinations of countable values up to which each of them is checked."""


@dataclass(frozen=True)
class Context:
    """The settings of a method with values of other parameters, with which a parameter is drawn."""

    method: Method
    values: Mapping[str, Any]
    settings: Settings


def parameter_methods(table: Table, methods: Sequence[Method]) -> tuple[str, ...]:
    """Return the names of the methods that a parameter applies to: all, or those of its models or arms."""
    names, models = table.get("arms"), table.get("models")
    return tuple(
        method.name
        for method in methods
        if (names is None or method.name in names) and (models is None or method.model in models)
    )


def parameter_errors(
    tables: Mapping[str, Table], fixed: Table, base: Settings, methods: Sequence[Method], every: bool
) -> Iterator[str]:
    """Yield the errors of all parameters, apart from those that follow from the errors of other methods.

    Args:
        tables: the tables by parameter, without invalid values.
        fixed: the fixed values of the file.
        base: the settings that all methods have in common.
        methods: the valid methods.
        every: whether these are all methods of the file.
    """
    circle = _circle(tables)
    if circle:
        yield f"parameters: conditions (when) must not depend on each other in a circle, got {circle}"
    applies = {name: parameter_methods(table, methods) for name, table in tables.items()}
    wrong = bool(circle)
    for name, table in tables.items():
        own = [method for method in methods if method.name in applies[name]]
        errors = [f": {line}" for line in _fixed_errors(name, fixed, own)]
        if listed := [*_arm_errors(table, methods, every)]:
            errors += [f".{line}" for line in listed]
        else:
            conditions = [*_condition_errors(name, tables, applies)]
            contexts = [] if circle or conditions else [*_contexts(name, tables, own, base)]
            effects = [] if circle or conditions else [*_effect_errors(name, table, own, methods, contexts)]
            settings = [each.settings for each in contexts] or [method.settings(base) for method in own]
            settings = settings or ([base] if every else [])
            domain = dict.fromkeys(line for each in settings for line in domain_errors(name, table, each))
            errors += [f".{line}" for line in (*conditions, *effects, *domain)]
        wrong = wrong or bool(errors) or not ("choices" in table or {"low", "high"} <= set(table))
        yield from (f"parameters.{name}{line}" for line in errors)
    if every and not wrong:
        parameters = make_parameters(tables, base, methods)
        found = [line for method in methods for line in _combination_errors(parameters, method, base)]
        yield from (f"parameters: {line}" for line in dict.fromkeys(found))


def make_parameters(tables: Mapping[str, Table], base: Settings, methods: Sequence[Method]) -> tuple[Parameter, ...]:
    """Return the parameters of valid tables. The numbers of a setting that is a whole number are whole."""
    found = []
    for name, table in tables.items():
        own = [method for method in methods if method.name in parameter_methods(table, methods)]
        domain: Range | Choices
        if "choices" in table:
            domain = Choices(tuple(table["choices"]))
        else:
            settings = (own[0].settings(base) if own else base) if name not in RATIOS else None
            low, high = (_as_setting(settings, name, table[key]) for key in ("low", "high"))
            step = type(low)(table["step"]) if "step" in table else None
            domain = Range(low, high, table.get("scale", "linear"), step)
        when = {key: tuple(_allowed(value)) for key, value in table.get("when", {}).items()}
        found.append(Parameter(name, domain, tuple(method.name for method in own), when, table.get("why", "")))
    return tuple(found)


def _as_setting(settings: Settings | None, name: str, value: float) -> float:
    """Return a number as the setting holds it, whole or not. A ratio has no setting."""
    if settings is None:
        return float(value)
    number: float = value_of(with_values(settings, {SHORT_NAMES.get(name, name): value}), name)
    return number


def _fixed_errors(name: str, fixed: Table, methods: Sequence[Method]) -> Iterator[str]:
    """Yield an error for each value of the file or of a parameter's methods that fixes what the parameter searches."""
    tables = {"fixed": fixed, **{f"arms.{method.name}.fixed": method.fixed for method in methods}}
    for key in LAMBDAS if name in RATIOS else (SHORT_NAMES.get(name, name),):
        for where, table in tables.items():
            if key in table:
                yield f"must not be searched while {where}.{key} holds {short_repr(table[key])}"


def _arm_errors(table: Table, methods: Sequence[Method], every: bool) -> Iterator[str]:
    """Yield the errors of a parameter's lists of models and arms. Other methods of the file may be in them."""
    if "models" in table and "arms" in table:
        yield f"arms: must be left out where there is the key models, got {short_repr(table['arms'])}"
    present = {"models": [method.model for method in methods], "arms": [method.name for method in methods]}
    for key, names in present.items():
        if every and key in table and names and not set(table[key]) <= set(names):
            listed = ", ".join(dict.fromkeys(names))
            yield f"{key}: must be a list of the file's {key}, {listed}, got {short_repr(table[key])}"


def _allowed(value: Any) -> list[Any]:
    """Return the values of a condition: one, or each of a list."""
    return value if isinstance(value, list) else [value]


def _circle(tables: Mapping[str, Table]) -> str:
    """Return the parameters whose conditions depend on each other in a circle; "" where there are none."""
    conditions = {name: [key for key in table.get("when", {}) if key in tables] for name, table in tables.items()}
    try:
        in_order([Parameter(name, Choices(()), (), dict.fromkeys(keys, ())) for name, keys in conditions.items()])
    except ValueError as error:
        return str(error)
    return ""


def _condition_errors(name: str, tables: Mapping[str, Table], applies: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield an error for each part of a parameter's condition that names no other parameter, or a value it never has.

    Args:
        name: the parameter.
        tables: the tables by parameter.
        applies: the methods that each parameter applies to.
    """
    for key, value in tables[name].get("when", {}).items():
        if key == name or key not in tables:
            others = ", ".join(other for other in tables if other != name) or "(none)"
            yield f"when.{key}: must be another parameter of the file, {others}"
            continue
        if lacking := sorted(set(applies[name]) - set(applies[key])):
            yield f"when.{key}: must be a parameter of the same arms, got none of {', '.join(lacking)}"
        possible, table = _possible(tables[key]), tables[key]
        if possible is not None and (wrong := [each for each in _allowed(value) if not possible.has(each)]):
            got = " and ".join(map(value_text, wrong))
            values = table.get("choices", [table.get("low"), table.get("high")])
            yield f"when.{key}: must be of the values of parameters.{key}, {short_repr(values)}, got {got}"


def _possible(table: Table) -> Range | Choices | None:
    """Return the values of a table, not only whole ones between its bounds; None where it is not valid."""
    if "choices" in table:
        return Choices(tuple(table["choices"]))
    if "low" in table and "high" in table and table["low"] < table["high"]:
        return Range(float(table["low"]), float(table["high"]), table.get("scale", "linear"), table.get("step"))
    return None


def _contexts(name: str, tables: Mapping[str, Table], methods: Sequence[Method], base: Settings) -> Iterator[Context]:
    """Yield the valid settings of the methods with every combination of what a parameter depends on.

    That is what its condition names, and searched choices with which it may have no effect.
    """
    conditions = _conditions(name, tables)
    for method in methods:
        own = dict(conditions)
        for key in _without_effect(method.model, name):
            if key not in own and "choices" in tables.get(key, {}):
                own[key] = list(tables[key]["choices"])
        for values in product(*own.values()):
            chosen = dict(zip(own, values, strict=True))
            settings = {SHORT_NAMES.get(key, key): value for key, value in chosen.items() if key not in RATIOS}
            try:
                yield Context(method, chosen, with_values(method.settings(base), settings))
            except SettingsError:
                continue  # the error of that other parameter


def _conditions(name: str, tables: Mapping[str, Table]) -> dict[str, list[Any]]:
    """Return the allowed values of all parameters that a parameter's condition names, also through their own."""
    found: dict[str, list[Any]] = {}
    for key, value in tables[name].get("when", {}).items():
        found |= {**_conditions(key, tables), key: _allowed(value)}
    return found


def _without_effect(model: str, name: str) -> Mapping[str, Any]:
    """Return values of other settings with which a parameter has no effect on a model."""
    return model_of(model).without_effect.get(name, {})


def _matters(settings: Settings, name: str) -> bool:
    """Return whether a parameter has an effect on a model. A model without segmentations has one kind of head."""
    return has_effect(settings, name) and (name != "model.head" or model_of(settings.model.name).segments)


def _effect_errors(
    name: str, table: Table, own: Sequence[Method], methods: Sequence[Method], contexts: Sequence[Context]
) -> Iterator[str]:
    """Yield an error for each method that a parameter applies to and cannot affect, always or with some choices."""
    without = {
        method.name: [each.values for each in contexts if each.method is method and not _matters(each.settings, name)]
        for method in own
    }
    never = {method for method, values in without.items() if values and len(values) == _count(contexts, method)}
    named = any(method.name != method.model for method in methods)
    key = "arms" if named and "models" not in table else "models"
    others = list(
        dict.fromkeys(method.name if key == "arms" else method.model for method in own if method.name not in never)
    )
    correction = f"; write {key} = {json.dumps(others)}" if others else ""
    for method in own:
        if method.name in never:
            values = " and ".join(
                f"{setting} = {value}" for setting, value in _without_effect(method.model, name).items()
            )
            where = f" with {values}" if values else ""
            got = table.get(key, [each.name if key == "arms" else each.model for each in own])
            yield (
                f"{key}: must leave out {method.name if key == 'arms' else method.model}, on which {name} has no "
                f"effect{where}{correction}, got {short_repr(list(got))}"
            )
        elif without[method.name]:
            values = " and ".join(f"{other} = {value_text(value)}" for other, value in without[method.name][0].items())
            yield f"when: must leave out {values}, with which {name} has no effect on {method.name}" + _correction(
                name, [each for each in contexts if each.method is method]
            )


def _count(contexts: Iterable[Context], method: str) -> int:
    return sum(each.method.name == method for each in contexts)


def _correction(name: str, contexts: Sequence[Context]) -> str:
    """Return the condition that leaves out the contexts without effect, where it concerns one other parameter."""
    keys = {key for each in contexts for key in each.values}
    if len(keys) > 1:
        return ""
    (key,) = keys
    good = [each.values[key] for each in contexts if _matters(each.settings, name)]
    return f"; write when = {{{json.dumps(key)} = {json.dumps(good if len(good) > 1 else good[0])}}}"


def _combination_errors(parameters: Sequence[Parameter], method: Method, base: Settings) -> Iterator[str]:
    """Yield the error of the first invalid combination of a method's countable values, each valid by itself."""
    own = [each for each in parameters if method.name in each.methods and each.domain.values is not None]
    names = {each.name for each in own}
    countable = in_order([each for each in own if set(each.when) <= names])
    if not countable or grid_size(countable) > MOST_COMBINATIONS:
        return
    settings = method.settings(base)
    for sample in points(countable):
        try:
            with_values(
                settings, {SHORT_NAMES.get(key, key): each for key, each in sample.items() if key not in RATIOS}
            )
        except SettingsError as error:
            got = ", ".join(f"{key} = {value_text(each)}" for key, each in sample.items())
            yield f"every combination must be valid, got {got} ({'; '.join(error.errors)})"
            return
