"""The rules of the objective of a search file: validation metrics that every arm logs, and their directions."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jointnet.errors import SettingsError, short_repr
from jointnet.models import model_of
from jointnet.own_code import name_in
from jointnet.settings import Settings
from jointnet.settings.validation import unknown
from jointnet.structures import STRUCTURES
from jointnet.train.objective import Direction, Objective, known_directions
from study.search.samplers import FOR_SEVERAL
from study.search.space import SearchSpace


def key_errors(table: Mapping[str, Any]) -> Iterator[str]:
    """Yield the errors in the keys of the table `[objective]`: it has one metric, or several, with their directions."""
    several = "metrics" in table
    own, other = ("metrics", "metric") if several else ("metric", "metrics")
    if other in table:
        yield f"{other}: must be left out beside {own}, got {short_repr(table[other])}"
    if own not in table:
        yield "metric: is missing; must be a metric of the validation, or metrics a list of them"
    own, other = ("directions", "direction") if several else ("direction", "directions")
    if other in table:
        yield f"{other}: must be left out in favour of {own}, got {short_repr(table[other])}"
    if own not in table:
        yield f"{own}: is missing; must be {'a list' if several else 'one'} of minimize, maximize"
    lengths = {len(table[key]) for key in ("metrics", "directions") if isinstance(table.get(key), list)}
    if several and len(lengths) > 1:
        yield f"{own}: must be one for each of the {len(table['metrics'])} metrics, got {short_repr(table[own])}"


def several_errors(search: Mapping[str, Any]) -> Iterator[str]:
    """Yield the errors of the valid values of the table `[search]` of a file whose objective has several metrics."""
    if search.get("scheduler", "none") != "none":
        yield (
            "scheduler: must be none, as by default, where the objective has several metrics, because early stopping "
            f"compares one, got {short_repr(search['scheduler'])}"
        )
    if search.get("sampler", FOR_SEVERAL[0]) not in FOR_SEVERAL:
        listed = ", ".join(FOR_SEVERAL)
        yield (
            f"sampler: must be one of {listed} where the objective has several metrics, got "
            f"{short_repr(search['sampler'])}"
        )


def objective_errors(
    table: Mapping[str, Any], settings: Mapping[str, Settings], structures: Sequence[str] = STRUCTURES
) -> Iterator[str]:
    """Yield the errors of an objective.

    Args:
        table: the valid ones of its values `metric` and `direction`, or `metrics` and `directions`.
        settings: the settings of each arm by name; at least one.
        structures: the data's structures.
    """
    logged = {
        name: known_directions(
            structures,
            own.model.structures if model_of(own.model.name).segments else (),
            map(name_in, own.training.metrics),
        )
        for name, own in settings.items()
    }
    if "metrics" in table:
        metrics, directions = table["metrics"], table.get("directions", ())
        known = directions if len(directions) == len(metrics) else [None] * len(metrics)
        for metric, direction in zip(metrics, known, strict=True):
            yield from (f"{key}s: {text}" for key, text in _errors(metric, direction, logged, structures))
    elif "metric" in table:
        found = _errors(table["metric"], table.get("direction"), logged, structures)
        yield from (f"{key}: {text}" for key, text in found)


def _errors(
    metric: str,
    direction: Direction | None,
    logged: Mapping[str, Mapping[str, Direction | None]],
    structures: Sequence[str],
) -> Iterator[tuple[str, str]]:
    """Yield the errors of a metric and its direction, each with its key. `logged` has the metrics of each arm."""
    if metric.startswith(("train/", "val/loss")):
        yield (
            "metric",
            "must be a metric of the validation, not a loss, by which a search would rank small weights first, "
            f"got {short_repr(metric)}",
        )
        return
    known = {each: known for of_arm in logged.values() for each, known in of_arm.items()}
    if metric not in known:
        kind, _, structure = metric.removeprefix("val/").partition("/")
        if structure in STRUCTURES and structure not in structures and f"val/{kind}/{structures[0]}" in known:
            yield "metric", f"must be of a structure of the data, {', '.join(structures)}, got {short_repr(metric)}"
        else:
            yield "metric", unknown("metric", metric, known)
        return
    if lacking := [name for name, of_arm in logged.items() if metric not in of_arm]:
        yield "metric", f"must be logged by every arm, {', '.join(lacking)} does not log {metric}; choose another"
    if direction is not None and known[metric] not in (None, direction):
        yield "direction", f"must be {known[metric]} for {metric}, got {short_repr(direction)}"


def check_objective(spaces: Sequence[SearchSpace], structures: Sequence[str]) -> None:
    """Check that all searches of a study have the same objective, and that the data have its structure.

    Raises:
        SettingsError: they do not.
    """
    objectives = {space.name: space.objective for space in spaces}
    if len(set(objectives.values())) > 1:
        texts = (
            f"{name} {' and '.join(f'{each.direction}s {each.metric}' for each in own.all)}"
            for name, own in objectives.items()
        )
        raise SettingsError(f"--search: the search files must have the same [objective], got {', '.join(texts)}")
    errors = dict.fromkeys(
        f"{space.name}: objective.{line}"
        for space in spaces
        for line in objective_errors(
            _table(space.objective), {each.name: space.settings_of(each.name) for each in space.methods}, structures
        )
    )
    if errors:
        raise SettingsError(errors)


def _table(objective: Objective) -> dict[str, Any]:
    """Return an objective as the table of a search file."""
    if not objective.further:
        return {"metric": objective.metric, "direction": objective.direction}
    metrics, directions = zip(*((each.metric, each.direction) for each in objective.all), strict=True)
    return {"metrics": metrics, "directions": directions}
