"""The rules of the objective of a search file: a validation metric that every arm logs, and its direction."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from jointnet.errors import SettingsError, short_repr
from jointnet.models import model_of
from jointnet.own_code import name_in
from jointnet.settings import Settings
from jointnet.settings.validation import unknown
from jointnet.structures import STRUCTURES
from jointnet.train.objective import known_directions
from study.search.space import SearchSpace


def objective_errors(
    table: Mapping[str, Any], settings: Mapping[str, Settings], structures: Sequence[str] = STRUCTURES
) -> Iterator[str]:
    """Yield the errors of an objective.

    Args:
        table: the valid ones of its values `metric` and `direction`.
        settings: the settings of each arm by name; at least one.
        structures: the data's structures.
    """
    metric, direction = table.get("metric"), table.get("direction")
    if metric is None:
        return
    if metric.startswith(("train/", "val/loss")):
        yield (
            "metric: must be a metric of the validation, not a loss, by which a search would rank small weights first, "
            f"got {short_repr(metric)}"
        )
        return
    logged = {
        name: known_directions(
            structures,
            own.model.structures if model_of(own.model.name).segments else (),
            map(name_in, own.training.metrics),
        )
        for name, own in settings.items()
    }
    known = {each: known for of_arm in logged.values() for each, known in of_arm.items()}
    if metric not in known:
        kind, _, structure = metric.removeprefix("val/").partition("/")
        if structure in STRUCTURES and structure not in structures and f"val/{kind}/{structures[0]}" in known:
            yield f"metric: must be of a structure of the data, {', '.join(structures)}, got {short_repr(metric)}"
        else:
            yield f"metric: {unknown('metric', metric, known)}"
        return
    if lacking := [name for name, of_arm in logged.items() if metric not in of_arm]:
        yield f"metric: must be logged by every arm, {', '.join(lacking)} does not log {metric}; choose another"
    if direction is not None and known[metric] not in (None, direction):
        yield f"direction: must be {known[metric]} for {metric}, got {short_repr(direction)}"


def check_objective(spaces: Sequence[SearchSpace], structures: Sequence[str]) -> None:
    """Check that all searches of a study have the same objective, and that the data have its structure.

    Raises:
        SettingsError: they do not.
    """
    objectives = {space.name: space.objective for space in spaces}
    if len(set(objectives.values())) > 1:
        texts = (f"{name} {own.direction}s {own.metric}" for name, own in objectives.items())
        raise SettingsError(f"--search: the search files must have the same [objective], got {', '.join(texts)}")
    errors = dict.fromkeys(
        f"{space.name}: objective.{line}"
        for space in spaces
        for line in objective_errors(
            vars(space.objective), {each.name: space.settings_of(each.name) for each in space.methods}, structures
        )
    )
    if errors:
        raise SettingsError(errors)
