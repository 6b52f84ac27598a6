"""Search files: their tables, and their strict reading. The errors of all files are reported together."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field
from pydantic.dataclasses import dataclass

from jointnet.errors import SettingsError, short_repr
from jointnet.evaluate.aggregation import ENDPOINTS
from jointnet.models import MODELS
from jointnet.settings import Settings, load_settings, with_values
from jointnet.settings.parsing import flat_settings
from jointnet.settings.schema import TABLE, ModelName
from jointnet.settings.validation import Schema, json_schema, validate
from jointnet.system.toml_file import is_file, read_toml
from study.plan.search_space import (
    LAMBDAS,
    RATIOS,
    SHORT_NAMES,
    Budget,
    Fidelity,
    Objective,
    Parameter,
    SearchSpace,
    has_parameter,
)
from study.plan.splits import parse_counts

MOST_TRIALS, MOST_PATIENTS = 100_000, 10_000
MOST_MINUTES = 1_000_000
LARGEST_RATIO = 1e6
"""Largest ratio of two lambdas. Beyond it one term of the loss is lost in rounding."""
MOST_INTEGERS = 64
"""Number of whole numbers from one bound of a parameter to the other up to which each of them is checked."""

NUMBERS = tuple(key for key, value in flat_settings(Settings()).items() if type(value) in (int, float))
NOT_SEARCHED = (*LAMBDAS, *SHORT_NAMES.values(), "training.epochs")
"""Numeric settings that have a parameter of another name, or that the fidelity determines."""
PARAMETERS = (*RATIOS, *SHORT_NAMES, *sorted(set(NUMBERS) - set(NOT_SEARCHED)))
NOT_FIXED = {"model.name": "the key `models`", "training.epochs": "the key `fidelity.max_epochs`"}
"""Settings that another key of the file determines."""

if TYPE_CHECKING:
    ParameterName = str
    EndpointName = str
else:
    ParameterName = Literal[PARAMETERS]
    EndpointName = Literal[tuple(map("/".join, ENDPOINTS))]


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        raise ValueError("a value is repeated")
    return values


def _describe_fixed(schema: Schema) -> None:
    """Add the settings that may be fixed to the JSON schema."""
    settings = json_schema(Settings)
    tables = {name: settings["$defs"][rule["$ref"].rpartition("/")[2]] for name, rule in settings["properties"].items()}
    rules = {f"{name}.{key}": rule for name, table in tables.items() for key, rule in table["properties"].items()}
    schema["properties"] = {key: rule for key, rule in rules.items() if key not in NOT_FIXED}
    schema["additionalProperties"] = False


Text = Annotated[str, Field(pattern=r"\S")]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Margin = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0)]
Minutes = Annotated[float, Field(strict=True, gt=0, le=MOST_MINUTES)]
Models = Annotated[
    tuple[ModelName, ...], Field(min_length=1, json_schema_extra={"uniqueItems": True}), AfterValidator(_unique)
]


@dataclass(frozen=True, config=TABLE)
class ParameterTable:
    """A searched parameter: its bounds, both inclusive, and the reason for them."""

    low: Finite
    """Lower bound."""
    high: Finite
    """Upper bound."""
    scale: Literal["linear", "log"]
    """Scale on which values are drawn."""
    why: Text
    """Reason for these bounds."""
    models: Models | None = None
    """The models that the parameter applies to; all of the file by default."""


@dataclass(frozen=True, config=TABLE)
class BudgetTable:
    """The budget of the search."""

    num_samples: Annotated[int, Field(ge=1, le=MOST_TRIALS, strict=True)]
    """Trials of each arm."""
    minutes: Minutes | None = None
    """Minutes of searching, shared by all arms of the file; no limit by default."""


@dataclass(frozen=True, config=TABLE)
class ClaimTable:
    """The non-inferiority margins, fixed before any result."""

    margin_mm: Margin | Annotated[dict[EndpointName, Margin], Field(min_length=1)]
    """One margin in mm for the centroid distance (CD) of the LV, or a margin per endpoint."""


@dataclass(frozen=True, config=TABLE)
class SearchFile:
    """A search file of `search_spaces/`."""

    question: Text
    """The research question, one sentence."""
    models: Models
    """The models. Each model with each split is an arm."""
    objective: Objective
    parameters: Annotated[dict[ParameterName, ParameterTable], Field(min_length=1)]
    """The searched parameters by name: `alpha`, a ratio of lambdas, or a settings key such as
    `optimiser.learning_rate`."""
    fidelity: Fidelity
    budget: BudgetTable
    settings: Text = "default"
    """Name or file of the base settings."""
    fixed: Annotated[dict[str, Any], Field(json_schema_extra=_describe_fixed)] = field(default_factory=dict)
    """Values by dotted settings key, which replace those of `settings`."""
    splits: Annotated[tuple[Text, ...], Field(min_length=1)] | None = None
    """Patients of each split as training/validation/test, such as `25/15/5`; those of the command by default."""
    phantom_patients: Annotated[int, Field(ge=3, le=MOST_PATIENTS, strict=True)] | None = None
    """Number of phantom patients where the command names no data; the command's default where absent."""
    claim: ClaimTable | None = None
    """The non-inferiority margins of the claim; no claim by default."""


def load_spaces(names: Sequence[str], settings: str | None = None) -> tuple[SearchSpace, ...]:
    """Read search spaces by name or by path of a TOML file.

    Args:
        names: names or paths of the search spaces.
        settings: name or file of settings that replace the `settings` of every file; None keeps those. The `[fixed]`
            values of a file are applied in both cases.

    Raises:
        SettingsError: lists every error of every file.
    """
    spaces = []
    repeated = sorted({name for name in names if names.count(name) > 1})
    errors = [f"--search: {short_repr(name)} must be named once" for name in repeated]
    if settings is not None:
        try:
            load_settings(settings)
        except SettingsError as error:
            errors += [f"--settings: {line}" for line in error.errors]
            settings = None
    for name in dict.fromkeys(names):
        try:
            spaces.append(_read(_find(name), settings))
        except SettingsError as error:
            errors += error.errors
    if errors:
        raise SettingsError(errors)
    return tuple(spaces)


def folders() -> tuple[Path, ...]:
    """Return the folders that are searched for search spaces: beside the package, then in the working directory."""
    return tuple(dict.fromkeys((Path(__file__).parents[2] / "search_spaces", Path.cwd() / "search_spaces")))


def _find(name: str) -> Path:
    if name.endswith(".toml"):
        if is_file(name):
            return Path(name)
        raise SettingsError(f"--search: {short_repr(name)} must be a file; there is no such file")
    for folder in folders():
        if is_file(folder / f"{name}.toml"):
            return folder / f"{name}.toml"
    names = sorted({path.stem for folder in folders() for path in folder.glob("*.toml")})
    raise SettingsError(
        f"--search: {short_repr(name)} must be the path of a .toml file or one of {', '.join(names) or '(none found)'}"
    )


def _read(path: Path, settings: str | None) -> SearchSpace:
    content = read_toml(path, path.name)
    file, invalid = validate(SearchFile, content)
    errors = [f"{'.'.join(keys)}: {text}" for keys, text in invalid.items()]
    # The valid values of an invalid file are checked against each other too, so that all errors come at once.
    valid = _without(content, invalid)
    base, base_errors = _base(settings or valid.get("settings", "default"), valid.get("fixed", {}))
    errors += [*base_errors, *_contradictions(valid, base)]
    if errors or file is None:
        raise SettingsError(f"{path.name}: {line}" for line in errors)
    return SearchSpace(
        name=path.stem,
        question=file.question,
        models=file.models,
        settings=settings or file.settings,
        base=base,
        fixed=file.fixed,
        objective=file.objective,
        parameters=tuple(_parameter(name, table, file, base) for name, table in file.parameters.items()),
        fidelity=file.fidelity,
        budget=Budget(file.budget.num_samples, file.budget.minutes),
        splits=file.splits,
        phantom_patients=file.phantom_patients,
        margin_mm=None if file.claim is None else file.claim.margin_mm,
    )


def _parameter(name: str, table: ParameterTable, file: SearchFile, base: Settings) -> Parameter:
    number = int if isinstance(flat_settings(base).get(name), int) else float
    models = file.models if table.models is None else table.models
    return Parameter(name, number(table.low), number(table.high), table.scale, table.why, models)


def _without(content: Mapping[str, Any], paths: Mapping[tuple[str, ...], str]) -> dict[str, Any]:
    """Return a copy of nested tables without the keys at some paths."""
    copy = dict(content)
    for path in paths:
        table = copy
        for key in path[:-1]:
            table[key] = dict(table[key])
            table = table[key]
        table.pop(path[-1], None)
    return copy


def _base(settings: str, fixed: Mapping[str, Any]) -> tuple[Settings, list[str]]:
    """Return the base settings with the fixed values, and errors. Invalid settings or fixed values are left out."""
    errors = [
        f"fixed.{key}: must be left to {other}, got {short_repr(fixed[key])}"
        for key, other in NOT_FIXED.items()
        if key in fixed
    ]
    base = Settings()
    try:
        base = load_settings(settings)
    except SettingsError as error:
        errors += [f"settings: {line}" for line in error.errors]
    try:
        base = with_values(base, {key: value for key, value in fixed.items() if key not in NOT_FIXED})
    except SettingsError as error:
        errors += [f"fixed.{line}" for line in error.errors]
    return base, errors


def _contradictions(valid: Mapping[str, Any], base: Settings) -> Iterator[str]:
    """Yield an error for each invalid combination of the valid values of a file."""
    try:
        parse_counts(valid.get("splits", ()))
    except SettingsError as error:
        yield from (f"splits: {line}" for line in error.errors)
    fidelity = valid.get("fidelity", {})
    most, grace = fidelity.get("max_epochs"), fidelity.get("grace_epochs")
    if most is not None and grace is not None and grace > most:
        yield f"fidelity.grace_epochs: must be at most max_epochs, {most}, got {grace}"
    fixed = valid.get("fixed", {})
    for name, table in valid.get("parameters", {}).items():
        where = f"parameters.{name}"
        for key in LAMBDAS if name in RATIOS else (SHORT_NAMES.get(name, name),):
            if key in fixed:
                yield f"{where}: must not be searched while fixed.{key} holds {short_repr(fixed[key])}"
        yield from (f"{where}.{line}" for line in _model_errors(name, table, valid.get("models", ()), base.model.head))
        yield from (f"{where}.{line}" for line in _bound_errors(name, table, base))


def _model_errors(name: str, table: Mapping[str, Any], models: Sequence[str], head: str) -> Iterator[str]:
    """Yield an error for each model of a parameter that the file does not have, or that the parameter cannot affect."""
    own = table.get("models", models)
    if models and not set(own) <= set(models):
        yield f"models: must be a list of the file's models, {', '.join(models)}, got {short_repr(own)}"
    for model in own:
        if not has_parameter(model, name, head):
            others = [other for other in models if has_parameter(other, name, head)]
            correction = f"; write models = {json.dumps(others)}" if others else ""
            by_head = name in MODELS[model].settings_without_effect_by_head.get(head, ())
            where = f" with model.head = {head}" if by_head else ""
            yield (
                f"models: must leave out {model}, on which {name} has no effect{where}{correction}, "
                f"got {short_repr(list(own))}"
            )


def _bound_errors(name: str, table: Mapping[str, Any], base: Settings) -> Iterator[str]:
    """Yield the errors of the bounds of a parameter."""
    bounds = {key: table[key] for key in ("low", "high") if key in table}
    low, high = bounds.get("low"), bounds.get("high")
    if low is not None and high is not None and low >= high:
        yield f"low: must be below high, {short_repr(high)}, got {short_repr(low)}"
    if low is not None and low <= 0 and table.get("scale") == "log":
        yield f"low: must be above 0 on a log scale, got {short_repr(low)}"
    if name not in RATIOS:
        errors = [f"{key}: {line}" for key, bound in bounds.items() for line in _setting_errors(base, name, bound)]
        yield from errors
        if not errors and isinstance(low, int) and isinstance(high, int) and high - low < MOST_INTEGERS:
            yield from _between_errors(name, range(low + 1, high), base)
        return
    if low is not None and low < 0:
        yield f"low: must be at least 0, got {short_repr(low)}"
    if high is not None and high > LARGEST_RATIO:
        yield f"high: must be at most {LARGEST_RATIO:g}, got {short_repr(high)}"


def _between_errors(name: str, between: Iterable[int], base: Settings) -> Iterator[str]:
    """Yield the error of the first invalid value between the bounds of a setting that is a whole number."""
    for value in between:
        for line in _setting_errors(base, name, value):
            yield f"low, high: every whole number between them must be valid, got {value} ({line}); narrow the bounds"
            return


def _setting_errors(base: Settings, name: str, value: Any) -> tuple[str, ...]:
    """Return the errors of a value of a searched setting. The name is left out where it is that of the parameter."""
    setting = SHORT_NAMES.get(name, name)
    try:
        with_values(base, {setting: value})
    except SettingsError as error:
        return tuple(line.removeprefix(f"{setting}: ") for line in error.errors)
    return ()
