"""Strict reading of settings. One error lists every unknown key and every value out of bounds."""

from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any, get_type_hints

from jointnet.common_grid import SIZE_PX
from jointnet.errors import SettingsError, short_repr
from jointnet.models import MODELS
from jointnet.settings.schema import Settings
from jointnet.system.toml_file import is_file, parse_toml, read_toml


def settings_to_dict(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the settings as nested dictionaries of plain values, ready for JSON or TOML."""
    return asdict(settings)


def settings_from_dict(values: Mapping[str, Any], base: Settings | None = None) -> Settings:
    """Return `base` (the defaults if None) with the nested `values` replaced.

    Raises:
        SettingsError: with one message for each unknown key, wrong type and value out of bounds.
    """
    flat = {}
    errors: list[str] = []
    sections = [part.name for part in fields(Settings)]
    for section, content in values.items():
        if section not in sections:
            errors.append(f"{section}: unknown section {short_repr(section)}, must be one of {', '.join(sections)}")
        elif isinstance(content, Mapping):
            flat.update({f"{section}.{key}": value for key, value in content.items()})
        else:
            errors.append(f"{section}: must be a table of settings, got {short_repr(content)}")
    try:
        settings = with_values(Settings() if base is None else base, flat)
    except SettingsError as error:
        errors += error.errors
    if errors:
        raise SettingsError(errors)
    return settings


def with_values(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """Return `settings` with the values of dotted keys replaced, e.g. `{"loss.alpha": 0.3, "training.epochs": 5}`.

    Raises:
        SettingsError: with one message for each unknown key, wrong type and value out of bounds.
    """
    errors: list[str] = []
    sections: dict[str, dict[str, Any]] = {}
    known = {part.name: getattr(settings, part.name) for part in fields(settings)}
    for dotted, value in values.items():
        section, _, key = dotted.partition(".")
        if section not in known:
            errors.append(f"{dotted}: unknown section {short_repr(section)}, must be one of {', '.join(known)}")
            continue
        checked, error = _checked(known[section], key, value)
        if error:
            errors.append(f"{dotted}: {error}")
        else:
            sections.setdefault(section, {})[key] = checked
    result = replace(settings, **{name: replace(known[name], **content) for name, content in sections.items()})
    if not errors:
        errors = _contradictions(result)
    if errors:
        raise SettingsError(errors)
    return result


def settings_names() -> tuple[str, ...]:
    """Return the names of the settings included in the package, `default` first."""
    shipped = (item.name for item in resources.files("jointnet.settings").iterdir())
    return ("default", *sorted(name.removesuffix(".toml") for name in shipped if name.endswith(".toml")))


def load_settings(name_or_file: str | Path, base: Settings | None = None) -> Settings:
    """Read settings by name (e.g. `paper`) or from a user's TOML file.

    Raises:
        SettingsError: if there is no such name or file, it is not TOML, or a value is invalid.
    """
    names = settings_names()
    where = f"settings {short_repr(str(name_or_file))}"
    if str(name_or_file) == "default":
        return Settings() if base is None else base
    if str(name_or_file) in names:
        values = parse_toml((resources.files("jointnet.settings") / f"{name_or_file}.toml").read_bytes(), where)
    elif is_file(name_or_file):
        values = read_toml(Path(name_or_file), where)
    else:
        raise SettingsError(f"{where}: must be a TOML file or one of {', '.join(names)}")
    try:
        return settings_from_dict(values, base)
    except SettingsError as error:
        raise SettingsError(f"{where}: {line}" for line in error.errors) from None


def _checked(section: Any, key: str, value: Any) -> tuple[Any, str | None]:
    """Return the value in its field's type and None, or None and an error message."""
    by_name = {part.name: part for part in fields(section)}
    if key not in by_name:
        return None, f"unknown key {short_repr(key)}, must be one of {', '.join(by_name)}"
    wanted = get_type_hints(type(section))[key]
    rules = by_name[key].metadata
    if wanted is bool:
        return (value, None) if isinstance(value, bool) else (None, f"must be true or false, got {short_repr(value)}")
    if wanted is str:
        choices = rules.get("choices", ())
        return (
            (value, None)
            if value in choices
            else (None, f"must be one of {', '.join(choices)}, got {short_repr(value)}")
        )
    if wanted in (int, float):
        whole = isinstance(value, int) and not isinstance(value, bool)
        if not (whole or (wanted is float and isinstance(value, float))):
            return None, f"must be a{' whole' if wanted is int else ''} number, got {short_repr(value)}"
        if not rules["low"] <= value <= rules["high"]:
            return None, f"must be between {rules['low']} and {rules['high']}, got {short_repr(value)}"
        return wanted(value), None
    valid = isinstance(value, list | tuple) and len(value) >= 2
    if not (
        valid and all(isinstance(width, int) and not isinstance(width, bool) and 1 <= width <= 4096 for width in value)
    ):
        return None, f"must be at least two whole numbers between 1 and 4096, got {short_repr(value)}"
    return tuple(value), None


def _contradictions(settings: Settings) -> list[str]:
    """Return an error message for each invalid combination of valid values."""
    loss, errors = settings.loss, []
    if loss.lambda_1 + loss.lambda_2 + loss.lambda_3 <= 0:
        errors.append("loss.lambda_1..3: at least one must be above 0, got 0 for all")
    block = settings.training.downsampling * settings.model.stem * 2 ** (len(settings.model.widths) - 1)
    if SIZE_PX % block or block == SIZE_PX:
        rule = "training.downsampling * model.stem * 2 ** (levels of model.widths - 1)"
        errors.append(f"{rule}: must divide {SIZE_PX} and leave maps of more than one pixel, got {block}")
    if not MODELS[settings.model.name].segments and loss.lambda_1 <= 0:
        errors.append(f"loss.lambda_1: must be above 0 for a model that only registers, got {loss.lambda_1!r}")
    return errors


def flat_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings with dotted keys, as for `with_values`."""
    flat: dict[str, Any] = {}
    for part in fields(settings):
        section = getattr(settings, part.name)
        if is_dataclass(section):
            flat.update({f"{part.name}.{key}": value for key, value in asdict(section).items()})  # type: ignore[arg-type]
    return flat
