"""Strict reading of search spaces. The errors of all files are reported together, with file, key, rule and value."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jointnet.errors import SettingsError, short_repr
from jointnet.models import MODELS
from jointnet.settings import Settings, load_settings, with_values
from jointnet.settings.parsing import flat_settings
from jointnet.system.toml_file import is_file, read_toml
from study.plan.claim import read_margin
from study.plan.search_space import (
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
from study.plan.toml_table import TomlTable, is_count, is_number, is_table, is_text, is_texts
from study.store_names import OBJECTIVE

MOST_EPOCHS, MOST_TRIALS, MOST_PATIENTS = 100_000, 100_000, 10_000
MOST_MINUTES = 1_000_000
LARGEST_RATIO = 1e6
"""Largest ratio of two lambdas. Beyond it one term of the loss is lost in rounding."""


def load_spaces(names: Sequence[str], settings: str | None = None) -> tuple[SearchSpace, ...]:
    """Read search spaces by name or by path of a TOML file.

    Args:
        names: names or paths of the search spaces.
        settings: name or file of settings that replace the `settings` of every file; None keeps those. The `[fixed]`
            values of a file are applied in both cases.

    Raises:
        SettingsError: lists every error of every file.
    """
    spaces, errors = (
        [],
        [f"--search: {short_repr(name)} must be named once" for name in {n for n in names if names.count(n) > 1}],
    )
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
    known = sorted({path.stem for folder in folders() for path in folder.glob("*.toml")})
    raise SettingsError(
        f"--search: {short_repr(name)} must be the path of a .toml file or one of {', '.join(known) or '(none found)'}"
    )


def _read(path: Path, settings: str | None) -> SearchSpace:
    content = read_toml(path, path.name)
    errors: list[str] = []
    top = TomlTable(f"{path.name}: ", content, errors)
    question = top.take("question", is_text, "must be a sentence")
    models = tuple(top.take("models", _is_models, f"must be a list of models, each one of {', '.join(MODELS)}") or ())
    own = top.take("settings", is_text, "must be the name or the file of settings", "default")
    settings = settings or str(own or "default")
    splits = top.take("splits", is_texts, 'must be a list of texts such as "25/15/5"', None)
    phantom = top.take(
        "phantom_patients", is_count(3, MOST_PATIENTS), f"must be a whole number from 3 to {MOST_PATIENTS}", None
    )
    fixed = top.take("fixed", is_table, "must be a table", {})
    parameters = top.take("parameters", is_table, "must be a table with at least one parameter")
    objective = TomlTable(f"{path.name}: objective.", top.take("objective", is_table, "must be a table"), errors)
    fidelity = TomlTable(f"{path.name}: fidelity.", top.take("fidelity", is_table, "must be a table"), errors)
    budget = TomlTable(f"{path.name}: budget.", top.take("budget", is_table, "must be a table"), errors)
    claim = TomlTable(f"{path.name}: claim.", top.take("claim", is_table, "must be a table", None), errors)
    top.finish()
    if splits:
        try:
            parse_counts(splits)
        except SettingsError as error:
            errors += [f"{path.name}: splits: {line}" for line in error.errors]
    base = _base(path.name, settings, fixed or {}, errors)
    space = SearchSpace(
        name=path.stem,
        question=str(question),
        models=models,
        settings=settings,
        base=base,
        fixed=fixed or {},
        objective=_objective(objective),
        parameters=_parameters(path.name, parameters or {}, models, base, fixed or {}, errors),
        fidelity=_fidelity(fidelity, errors),
        budget=_budget(budget),
        splits=tuple(splits) if splits else None,
        phantom_patients=phantom,
        margin_mm=read_margin(claim),
    )
    if errors:
        raise SettingsError(errors)
    return space


def _base(file: str, name: str, fixed: dict[str, Any], errors: list[str]) -> Settings:
    """Return the base settings of a search space. Invalid parts are replaced by defaults and added to `errors`."""
    try:
        base = load_settings(name)
    except SettingsError as error:
        errors += [f"{file}: settings: {line}" for line in error.errors]
        base = Settings()
    given = {"model.name": "the key `models`", "training.epochs": "the key `fidelity.max_epochs`"}
    errors += [
        f"{file}: fixed.{key}: must be left to {by}, got {short_repr(fixed[key])}"
        for key, by in given.items()
        if key in fixed
    ]
    usable = {key: value for key, value in fixed.items() if key not in given}
    try:
        return with_values(base, usable)
    except SettingsError as error:
        errors += [f"{file}: fixed.{line}" for line in error.errors]
        return base


def _objective(table: TomlTable) -> Objective:
    table.take("metric", lambda value: value == OBJECTIVE, f'must be "{OBJECTIVE}": a trial keeps its best model by it')
    table.take("direction", lambda value: value == "minimize", f'must be "minimize" for {OBJECTIVE}')
    table.finish()
    return Objective()


def _fidelity(table: TomlTable, errors: list[str]) -> Fidelity:
    count = f"must be a whole number from 1 to {MOST_EPOCHS}"
    most = table.take("max_epochs", is_count(1, MOST_EPOCHS), count)
    grace = table.take("grace_epochs", is_count(1, MOST_EPOCHS), count)
    factor = table.take("reduction_factor", is_count(2, MOST_EPOCHS), f"must be a whole number from 2 to {MOST_EPOCHS}")
    table.finish()
    if most and grace and grace > most:
        errors.append(f"{table.where}grace_epochs: must be at most max_epochs, {most}, got {grace}")
    return Fidelity(most or 1, grace or 1, factor or 2)


def _budget(table: TomlTable) -> Budget:
    trials = f"must be a whole number from 1 to {MOST_TRIALS}"
    samples = table.take("num_samples", is_count(1, MOST_TRIALS), trials)
    positive = lambda value: is_number(value) and 0 < value <= MOST_MINUTES  # noqa: E731
    minutes = table.take("minutes", positive, f"must be a number above 0, at most {MOST_MINUTES}", None)
    table.finish()
    return Budget(samples or 1, None if minutes is None else float(minutes))


def _parameters(
    file: str,
    tables: dict[str, Any],
    models: tuple[str, ...],
    base: Settings,
    fixed: dict[str, Any],
    errors: list[str],
) -> tuple[Parameter, ...]:
    if not tables:
        errors.append(f"{file}: parameters: must be a table with at least one parameter, got none")
    known = {key for key, value in flat_settings(base).items() if is_number(value)}
    known -= {"loss.alpha", "loss.lambda_1", "loss.lambda_2", "loss.lambda_3", "training.epochs"}
    names = (*RATIOS, *SHORT_NAMES, *sorted(known))
    read = []
    for name, content in tables.items():
        where = f"{file}: parameters.{name}"
        if name not in names:
            errors.append(f"{where}: unknown parameter {short_repr(name)}, must be one of {', '.join(names)}")
            continue
        if not is_table(content):
            errors.append(f"{where}: must be a table, got {short_repr(content)}")
            continue
        key = SHORT_NAMES.get(name, name)
        clashing = ("loss.lambda_1", "loss.lambda_2", "loss.lambda_3") if name in RATIOS else (key,)
        errors += [
            f"{where}: must not be searched while fixed.{k} holds {short_repr(fixed[k])}"
            for k in clashing
            if k in fixed
        ]
        parameter = _parameter(TomlTable(f"{where}.", content, errors), name, models, base)
        if parameter is not None:
            read.append(parameter)
    return tuple(read)


def _parameter(table: TomlTable, name: str, models: tuple[str, ...], base: Settings) -> Parameter | None:
    before = len(table.errors)
    low = table.take("low", is_number, "must be a number")
    high = table.take("high", is_number, "must be a number")
    scale = table.take("scale", lambda value: value in ("linear", "log"), "must be linear or log")
    why = table.take("why", is_text, "must say why these bounds")
    within = lambda value: _is_models(value) and set(value) <= set(models)  # noqa: E731
    own = tuple(table.take("models", within, f"must be a list of the file's models, {', '.join(models)}", models) or ())
    table.finish()
    for model in own:
        if not has_parameter(model, name):
            others = [other for other in models if has_parameter(other, name)]
            table.errors.append(
                f"{table.where}models: must leave out {model}, which has no {name}"
                f"{f'; write models = {json.dumps(others)}' if others else ''}, got {list(own)}"
            )
    if low is not None and high is not None:
        if low >= high:
            table.errors.append(f"{table.where}low: must be below high, {short_repr(high)}, got {short_repr(low)}")
        if scale == "log" and low <= 0:
            table.errors.append(f"{table.where}low: must be above 0 on a log scale, got {short_repr(low)}")
        if name in RATIOS and low < 0:
            table.errors.append(f"{table.where}low: must be at least 0, got {short_repr(low)}")
        if name in RATIOS and high > LARGEST_RATIO:
            table.errors.append(f"{table.where}high: must be at most {LARGEST_RATIO:g}, got {short_repr(high)}")
        for key, bound in (("low", low), ("high", high)):
            if name not in RATIOS:
                try:
                    with_values(base, {SHORT_NAMES.get(name, name): bound})
                except SettingsError as error:
                    table.errors += [f"{table.where}{key}: {line.partition(': ')[2]}" for line in error.errors]
    if len(table.errors) > before:
        return None
    whole = isinstance(flat_settings(base).get(name), int)
    number = int if whole else float
    return Parameter(name, number(low), number(high), scale, why, own)


def _is_models(value: Any) -> bool:
    return is_texts(list(value) if isinstance(value, tuple) else value) and (
        len(set(value)) == len(value) and set(value) <= set(MODELS)
    )
