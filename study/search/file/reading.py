"""Search files: their tables, and their strict reading. The errors of all files are reported together."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field
from pydantic.dataclasses import dataclass

from jointnet.errors import SettingsError, short_repr
from jointnet.evaluate.aggregation import ENDPOINTS
from jointnet.models import NAME, TRAINED
from jointnet.own_code import REFERENCE
from jointnet.settings import Settings, load_settings, with_values
from jointnet.settings.parsing import flat_settings
from jointnet.settings.schema import TABLE
from jointnet.settings.validation import Schema, json_schema, validate
from jointnet.system.toml_file import is_file, read_toml
from jointnet.train.objective import Direction, Objective
from study.search.file.parameter_rules import make_parameters
from study.search.file.rules import (
    NOT_FIXED,
    contradictions,
    is_option,
    methods_of,
    not_fixed_errors,
    together_errors,
)
from study.search.parameters import LAMBDAS, RATIOS, SHORT_NAMES
from study.search.space import Budget, Fidelity, Search, SearchSpace

MOST_TRIALS, MOST_PATIENTS = 100_000, 10_000
MOST_MINUTES, MOST_METRICS = 1_000_000, 3

NOT_SEARCHED = (*LAMBDAS, *SHORT_NAMES.values(), *NOT_FIXED)
"""Settings that have a parameter of another name, or that another key of the file determines."""
PARAMETERS = (*RATIOS, *SHORT_NAMES, *sorted(set(flat_settings(Settings())) - set(NOT_SEARCHED)))
OWN_KEY = r"^(model\.options|loss\.terms)\.\S+$"
"""Names of options of the user's own models and of weights of the user's own loss terms, which may be searched as
well."""
REPLACED: Mapping[tuple[str, ...], str] = {
    ("budget", "settings_first"): "was replaced by search.seed_trials: by default the first trial has the settings"
}
"""Messages about keys of earlier versions."""

if TYPE_CHECKING:
    EndpointName = str
    ModelName = str
else:
    EndpointName = Literal[tuple(map("/".join, ENDPOINTS))]
    ModelName = Literal[TRAINED] | Annotated[str, Field(pattern=f"^(?:{REFERENCE.pattern})$")]


def _unique(values: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(values)) < len(values):
        raise ValueError("a value is repeated")
    return values


def _parameter_name(name: str) -> str:
    if name not in PARAMETERS and re.search(OWN_KEY, name) is None:
        raise ValueError("unknown parameter")
    return name


def _describe_fixed(schema: Schema) -> None:
    """Add the settings that may be fixed to the JSON schema."""
    settings = json_schema(Settings)
    tables = {name: settings["$defs"][rule["$ref"].rpartition("/")[2]] for name, rule in settings["properties"].items()}
    rules = {f"{name}.{key}": rule for name, table in tables.items() for key, rule in table["properties"].items()}
    schema["properties"] = {key: rule for key, rule in rules.items() if key not in NOT_FIXED}
    schema["additionalProperties"] = False


_ARM_NAMES: Schema = {"propertyNames": {"pattern": NAME.pattern}}
Text = Annotated[str, Field(pattern=r"\S")]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Step = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0)]
Margin = Annotated[float, Field(strict=True, allow_inf_nan=False, gt=0)]
Minutes = Annotated[float, Field(strict=True, gt=0, le=MOST_MINUTES)]
_OnceEach = Field(min_length=1, json_schema_extra={"uniqueItems": True})
_Several = Field(min_length=2, max_length=MOST_METRICS, json_schema_extra={"uniqueItems": True})
_OneOrSeveral: Schema = {"oneOf": [{"required": ["metric", "direction"]}, {"required": ["metrics", "directions"]}]}
Models = Annotated[tuple[ModelName, ...], _OnceEach, AfterValidator(_unique)]
Fixed = Annotated[dict[str, Any], Field(json_schema_extra=_describe_fixed)]


@dataclass(frozen=True, config=TABLE)
class ArmTable:
    """A named arm: a model with its own settings."""

    model: ModelName
    """The model."""
    fixed: Fixed = field(default_factory=dict)
    """Values by dotted settings key for this arm only, which replace those of the file."""


@dataclass(frozen=True, config=TABLE)
class ParameterTable:
    """A searched parameter: `low` and `high`, or `choices`."""

    low: Finite | None = None
    """Lower bound, inclusive."""
    high: Finite | None = None
    """Upper bound, inclusive."""
    scale: Literal["linear", "log"] = "linear"
    """Scale on which numbers are drawn."""
    step: Step | None = None
    """Distance between two numbers; every number from `low` to `high` by default."""
    choices: Annotated[tuple[Any, ...], Field(min_length=2)] | None = None
    """The values, of any kind that the setting takes."""
    when: dict[str, Any] = field(default_factory=dict)
    """The parameter is drawn only where each of these other parameters has this value, or one of a list of values.
    Elsewhere it has the value of the settings."""
    why: Text = ""
    """Reason for these values."""
    models: Models | None = None
    """The models that the parameter applies to; all of the file by default."""
    arms: Annotated[tuple[Text, ...], _OnceEach, AfterValidator(_unique)] | None = None
    """The arms that the parameter applies to, by name, in place of `models`."""


Parameters = Annotated[
    dict[Annotated[str, AfterValidator(_parameter_name)], ParameterTable],
    Field(json_schema_extra={"propertyNames": {"anyOf": [{"enum": [*PARAMETERS]}, {"pattern": OWN_KEY}]}}),
]


@dataclass(frozen=True, config=ConfigDict(**TABLE, json_schema_extra=_OneOrSeveral))
class ObjectiveTable:
    """The metric to optimise on the validation patients. A trial keeps its best model by it.

    In its place, `metrics` and `directions` keep a Pareto front. The first metric then is the one that chooses.
    """

    metric: Text | None = None
    """A validation metric that every arm logs, such as `val/registration_ratio` or `val/cd_mm/lv`."""
    direction: Direction | None = None
    """`maximize` where high values are good, as of Dice."""
    metrics: Annotated[tuple[Text, ...], _Several, AfterValidator(_unique)] | None = None
    """Two or three such metrics in place of `metric`. The trials that are best by their trade-off are the front."""
    directions: tuple[Direction, ...] | None = None
    """The direction of each of them, in place of `direction`."""

    @property
    def objective(self) -> Objective:
        """The objective of the valid table."""
        if self.metrics is None:
            return Objective(str(self.metric), self.direction or "minimize")
        first, *further = map(Objective, self.metrics, self.directions or ())
        return replace(first, further=tuple(further))


@dataclass(frozen=True, config=TABLE)
class BudgetTable:
    """The budget of the search."""

    num_samples: Annotated[int, Field(ge=1, le=MOST_TRIALS, strict=True)]
    """Trials of each arm. An arm without parameters has one."""
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
    objective: ObjectiveTable
    fidelity: Fidelity
    models: Models | None = None
    """The models. Each model with each split is an arm. Left out where there are `arms`."""
    arms: Annotated[dict[str, ArmTable], Field(min_length=1, json_schema_extra=_ARM_NAMES)] | None = None
    """Named arms, in place of `models`. Each with each split is an arm, `NAME-25`."""
    parameters: Parameters = field(default_factory=dict)
    """The searched parameters by name: `alpha`, a ratio of lambdas, or a settings key such as
    `optimiser.learning_rate`. An arm without parameters is trained once."""
    budget: BudgetTable | None = None
    """The budget of the search. Required where there are parameters."""
    search: Search = field(default_factory=Search)
    """How the parameters' values are drawn, and when a trial stops early."""
    settings: Text = "default"
    """Name or file of the base settings."""
    fixed: Fixed = field(default_factory=dict)
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
    """Return the folders that are searched for search spaces: in the working directory, then the shipped one."""
    return (Path.cwd() / "search_spaces", Path(__file__).parents[2] / "search_spaces")


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
    errors = [f"{'.'.join(keys)}: {REPLACED.get(keys, text)}" for keys, text in invalid.items()]
    missing = dict(_missing(content.get("parameters"), invalid))
    errors += [f"{'.'.join(keys)}: {text}" for keys, text in missing.items()]
    # The valid values of an invalid file are checked against each other too, so that all errors come at once.
    valid = _without(content, invalid)
    base, base_errors = _base(settings or valid.get("settings", "default"), valid.get("fixed", {}))
    methods, method_errors = methods_of(content, valid, base)
    errors += [*base_errors, *method_errors, *contradictions(content, valid, base, methods, not method_errors)]
    if errors or file is None:
        raise SettingsError(f"{path.name}: {line}" for line in errors)
    budget = BudgetTable(1) if file.budget is None else file.budget
    space = SearchSpace(
        name=path.stem,
        question=file.question,
        methods=methods,
        settings=settings or file.settings,
        base=base,
        fixed=file.fixed,
        objective=file.objective.objective,
        parameters=make_parameters(content.get("parameters", {}), base, methods),
        fidelity=file.fidelity,
        budget=Budget(budget.num_samples, budget.minutes),
        splits=file.splits,
        phantom_patients=file.phantom_patients,
        margin_mm=None if file.claim is None else file.claim.margin_mm,
        search=file.search if file.objective.metrics is None else replace(file.search, scheduler="none"),
    )
    if wrong := [*together_errors(space)]:
        raise SettingsError(f"{path.name}: {line}" for line in wrong)
    return space


def _missing(parameters: Any, invalid: Mapping[tuple[str, ...], str]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the parameters that have neither both bounds nor choices, apart from those that are invalid anyway."""
    for name, table in parameters.items() if isinstance(parameters, Mapping) else ():
        if ("parameters", name) not in invalid and isinstance(table, Mapping) and "choices" not in table:
            for key in ("low", "high"):
                if key not in table:
                    yield ("parameters", name, key), "is missing; must be a number, or there must be choices"


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
    """Return the base settings with the fixed values, and errors. Invalid settings or fixed values are left out.

    Options of models are left to the methods that have them.
    """
    errors = list(not_fixed_errors("fixed", fixed))
    base = Settings()
    try:
        base = load_settings(settings)
    except SettingsError as error:
        errors += [f"settings: {line}" for line in error.errors]
    try:
        own = {key: value for key, value in fixed.items() if key not in NOT_FIXED and not is_option(key)}
        base = with_values(base, own)
    except SettingsError as error:
        errors += [f"fixed.{line}" for line in error.errors]
    return base, errors
