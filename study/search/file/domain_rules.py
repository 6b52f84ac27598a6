"""The rules of one parameter's values: its bounds, scale and step, or its choices."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jointnet.errors import SettingsError, short_repr
from jointnet.settings import Settings, with_values
from study.search.parameters import ON_STEP, RATIOS, SHORT_NAMES, plain, value_of, value_text

Table = Mapping[str, Any]
LARGEST_RATIO = 1e6
"""Largest ratio of two lambdas. Beyond it one term of the loss is lost in rounding."""
MOST_INTEGERS = 64
"""Number of values of a parameter up to which each of them is checked, and not its bounds only."""


def domain_errors(name: str, table: Table, settings: Settings) -> Iterator[str]:
    """Yield the errors of a parameter's values with the settings of one method.

    Args:
        name: the parameter.
        table: its table, without invalid values.
        settings: settings with which it is drawn.
    """
    if "choices" in table:
        for key in ("low", "high", "scale", "step"):
            if key in table:
                yield f"{key}: must be left out where there are choices, got {short_repr(table[key])}"
        yield from _choice_errors(name, table["choices"], settings)
        return
    yield from _range_errors(table)
    bounds = {key: table[key] for key in ("low", "high") if key in table}
    errors = [f"{key}: {line}" for key, bound in bounds.items() for line in _value_errors(name, bound, settings)]
    yield from errors
    if not errors and len(bounds) == 2 and _is_whole(name, table["low"], settings):
        step = table.get("step", 1)
        if not float(step).is_integer():
            yield f"step: must be a whole number as {name} is one, got {short_repr(step)}"
        elif table["low"] < table["high"]:
            yield from _between_errors(name, range(table["low"], table["high"], int(step)), settings)


def _is_whole(name: str, value: float, settings: Settings) -> bool:
    """Return whether a parameter is a whole number, given a valid value of it."""
    if name in RATIOS:
        return False
    return isinstance(value_of(with_values(settings, {SHORT_NAMES.get(name, name): value}), name), int)


def _choice_errors(name: str, choices: list[Any], settings: Settings) -> Iterator[str]:
    values = [plain(value) for value in choices]
    if repeated := [value for place, value in enumerate(values) if value in values[:place]]:
        yield f"choices: must differ from each other, got {value_text(repeated[0])} twice"
    for value in values:
        for line in _value_errors(name, value, settings):
            got = "" if ", got " in line else f", got {value_text(value)}"
            yield f"choices: {line}{got}"


def _range_errors(table: Table) -> Iterator[str]:
    """Yield the errors of bounds, scale and step, for any kind of value."""
    low, high, step = table.get("low"), table.get("high"), table.get("step")
    if low is not None and high is not None and low >= high:
        yield f"low: must be below high, {short_repr(high)}, got {short_repr(low)}"
    log = table.get("scale") == "log"
    if log and low is not None and low <= 0:
        yield f"low: must be above 0 on a log scale, got {short_repr(low)}"
    if step is None:
        return
    if log:
        yield f"step: must be left out on a log scale, got {short_repr(step)}"
    elif low is not None and high is not None and low < high:
        steps = (high - low) / step
        if abs(steps - round(steps)) > ON_STEP * max(1.0, steps) or round(steps) < 1:
            yield f"step: must lead from low, {low:g}, to high, {high:g}, got {short_repr(step)}"


def _between_errors(name: str, values: Sequence[int], settings: Settings) -> Iterator[str]:
    """Yield the error of the first invalid value between the bounds of a setting that is a whole number."""
    for value in values[1:] if len(values) <= MOST_INTEGERS else ():
        for line in _value_errors(name, value, settings):
            yield f"low, high: every whole number between them must be valid, got {value} ({line}); narrow the bounds"
            return


def _value_errors(name: str, value: Any, settings: Settings) -> tuple[str, ...]:
    """Return the errors of a value of a parameter. The name is left out where it is that of the parameter."""
    if name in RATIOS:
        return tuple(_ratio_errors(value))
    setting = SHORT_NAMES.get(name, name)
    try:
        with_values(settings, {setting: value})
    except SettingsError as error:
        return tuple(line.removeprefix(f"{setting}: ") for line in error.errors)
    return ()


def _ratio_errors(value: Any) -> Iterator[str]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        yield f"must be a number, got {short_repr(value)}"
    elif value < 0:
        yield f"must be at least 0, got {short_repr(value)}"
    elif value > LARGEST_RATIO:
        yield f"must be at most {LARGEST_RATIO:g}, got {short_repr(value)}"
