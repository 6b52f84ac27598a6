"""Settings from nested or dotted values and from files. One error lists every unknown key and every invalid value."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from jointnet.common_grid import SIZE_PX
from jointnet.errors import SettingsError, short_repr
from jointnet.models import Model, model_of
from jointnet.own_code import REFERENCE_WORDS, is_reference, name_in
from jointnet.settings.schema import BRANCHES, LARGEST_WEIGHT, TABLE, Settings
from jointnet.settings.validation import validate
from jointnet.system.toml_file import is_file, parse_toml, read_toml

TABLES = (("model", "options"), ("loss", "terms"))
"""Settings that are tables themselves."""
REPLACED: Mapping[tuple[str, ...], str] = {
    ("model", "guide_by_patient"): 'was replaced by registration.pooling, "patient" for true, "independent" for false',
    ("model", "guide_descriptors"): 'was replaced by registration.descriptor_weight; refinement = "none" stands for 0',
}
"""Messages about keys of earlier versions."""


def settings_to_dict(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return the settings as nested dictionaries of plain values, ready for JSON or TOML."""
    content = asdict(settings)
    for section, key in TABLES:
        content[section][key] = dict(content[section][key])
    return content


def settings_from_dict(values: Mapping[str, Any], base: Settings | None = None) -> Settings:
    """Return `base` (the defaults if None) with the nested `values` replaced.

    A model of another name does not have the options of the base's model.

    Raises:
        SettingsError: with one message for each unknown key, wrong type and value out of bounds.
    """
    content: dict[str, Any] = settings_to_dict(Settings() if base is None else base)
    model = values.get("model")
    if isinstance(model, Mapping) and model.get("name", content["model"]["name"]) != content["model"]["name"]:
        content["model"]["options"] = {}
    for section, table in values.items():
        content[section] = {**content.get(section, {}), **table} if isinstance(table, Mapping) else table
    settings, errors = validate(Settings, content)
    if settings is None:
        raise SettingsError(f"{'.'.join(path)}: {REPLACED.get(path, text)}" for path, text in errors.items())
    return _consistent(settings)


def with_values(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """Return `settings` with the values of dotted keys replaced, e.g. `{"loss.alpha": 0.3, "training.epochs": 5}`.

    A model of another name does not have the options of the model before.

    Raises:
        SettingsError: with one message for each unknown key, wrong type and value out of bounds.
    """
    content: dict[str, Any] = settings_to_dict(settings)
    if values.get("model.name", settings.model.name) != settings.model.name:
        content["model"]["options"] = {}
    paths = {}
    for dotted, value in values.items():
        section, _, key = dotted.partition(".")
        table, path = content.setdefault(section, {}), [section]
        first, _, rest = key.partition(".")
        if rest and isinstance(table.get(first), dict):
            table, path, key = table[first], [section, first], rest
        table[key] = value
        paths[dotted] = *path, key
    changed, errors = validate(Settings, content)
    if changed is None:
        errors |= {path: text for path, text in REPLACED.items() if path in errors}
        messages = {dotted: errors.get(path) or errors.get(path[:1]) for dotted, path in paths.items()}
        raise SettingsError(f"{dotted}: {text}" for dotted, text in messages.items() if text)
    return _consistent(changed)


def with_epochs(settings: Settings, epochs: int) -> Settings:
    """Return `settings` with another number of epochs of the same length: `training.steps` changes in proportion.

    Raises:
        SettingsError: if the number is out of bounds.
    """
    steps = settings.training.steps
    if steps is not None and isinstance(epochs, int):
        steps = max(1, round(steps * epochs / settings.training.epochs))
    return with_values(settings, {"training.epochs": epochs, "training.steps": steps})


def for_data(settings: Settings, structures: Collection[str]) -> Settings:
    """Return `settings` without the structures that the data do not have.

    Raises:
        SettingsError: if none is left.
    """
    left = [name for name in settings.model.structures if name in structures]
    if not left:
        raise SettingsError(
            f"model.structures: must have a structure of the data ({', '.join(structures) or 'none is labelled'}), got "
            f"{', '.join(settings.model.structures)}"
        )
    return with_values(settings, {"model.structures": left})


def flat_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings with dotted keys, as for `with_values`."""
    flat: dict[str, Any] = {}
    for section, table in settings_to_dict(settings).items():
        for key, value in table.items():
            if isinstance(value, dict):
                flat |= {f"{section}.{key}.{inner}": own for inner, own in value.items()}
            else:
                flat[f"{section}.{key}"] = value
    return flat


def own_code_of(settings: Settings) -> tuple[str, ...]:
    """Return the references to the user's own code that the settings name."""
    named = (settings.model.name, *dict(settings.loss.terms), *settings.training.metrics)
    return tuple(filter(is_reference, dict.fromkeys(named)))


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


def _consistent(settings: Settings) -> Settings:
    """Return the settings, with all options of a model of the user's own.

    Raises:
        SettingsError: with one message for each invalid combination of valid values.
    """
    loss, errors = settings.loss, []
    if loss.lambda_1 + loss.lambda_2 + loss.lambda_3 <= 0:
        errors.append("loss.lambda_1..3: at least one must be above 0, got 0 for all")
    block = settings.training.downsampling * settings.model.stem * 2 ** (len(settings.model.widths) - 1)
    if SIZE_PX % block or block == SIZE_PX:
        rule = "training.downsampling * model.stem * 2 ** (levels of model.widths - 1)"
        errors.append(f"{rule}: must divide {SIZE_PX} and leave maps of more than one pixel, got {block}")
    errors += _term_errors(dict(settings.loss.terms))
    try:
        model = model_of(settings.model.name)
        if not model.segments and loss.lambda_1 <= 0:
            errors.append(f"loss.lambda_1: must be above 0 for a model that only registers, got {loss.lambda_1!r}")
        options = _options(model, dict(settings.model.options))
        if options != settings.model.options:
            settings = replace(settings, model=replace(settings.model, options=options))
    except SettingsError as error:
        errors += error.errors
    if errors:
        raise SettingsError(errors)
    return settings


def _term_errors(terms: Mapping[str, Any]) -> Iterator[str]:
    """Yield an error for each of the user's own terms of the loss that breaks a rule. Their code is not run."""
    names = list(BRANCHES)
    for reference, weight in terms.items():
        if not is_reference(reference):
            yield f"loss.terms: must have keys that are {REFERENCE_WORDS}, got {short_repr(reference)}"
        elif (name := name_in(reference)) in names:
            yield f"loss.terms: must have names other than {', '.join(names)}, got {short_repr(reference)}"
        else:
            names.append(name)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 <= weight <= LARGEST_WEIGHT:
            yield f"loss.terms.{reference}: must be a number between 0 and {LARGEST_WEIGHT:g}, got {short_repr(weight)}"


def _options(model: Model, given: dict[str, Any]) -> tuple[tuple[str, Any], ...]:
    """Return the options of a model as `ModelSettings` has them, those that are not given with their defaults.

    Raises:
        SettingsError: with one message for each unknown key, wrong type and value out of bounds.
    """
    if model.options is None:
        if given:
            raise SettingsError(f"model.options: must be left out, since {model.name} has none, got {', '.join(given)}")
        return ()
    options, errors = validate(_strict(model.options), given)  # type: ignore[arg-type]
    if options is None:
        raise SettingsError(f"model.options.{'.'.join(path)}: {text}" for path, text in errors.items())
    return tuple(sorted(asdict(options).items()))


@cache
def _strict(options: Any) -> Any:
    """Return a dataclass that refuses unknown keys and other types."""
    return dataclass(options, config=ConfigDict(**TABLE, strict=True), frozen=True)
