"""The searches of a plan as text: sampler, first trials, and the parameters with their values."""

from study.plan.plan import Arm, Plan
from study.search.first_trials import first_samples
from study.search.grid import grid_size
from study.search.parameters import value_text
from study.search.space import SearchSpace

STOPPING = {
    "asha": "early stopping by ASHA",
    "median": "early stopping by the median",
    "none": "no early stopping",
}


def search_lines(plan: Plan, space: SearchSpace) -> list[str]:
    """Return the lines about a search; none where nothing is searched."""
    arms = {arm.method: arm for arm in plan.arms if arm.space.name == space.name and arm.parameters}
    if not arms:
        return []
    options = "".join(f", {key} = {value_text(value)}" for key, value in space.search.options.items())
    lines = [f"{space.name}: sampler {space.search.sampler}{options}, {STOPPING[space.search.scheduler]}"]
    lines += [f"  {line}" for line in dict.fromkeys(_grid(arm) for arm in arms.values()) if line]
    for parameter in space.parameters:
        lacking = [method.name for method in space.methods if method.name not in parameter.methods]
        only = f" ({', '.join(parameter.methods)} only)" if lacking else ""
        lines.append(f"  {parameter}{only}")
    lines += [f"  {line}" for line in dict.fromkeys(line for arm in arms.values() for line in _first(arm))]
    return [f"  {'' if number else 'Search':<9} {line}" for number, line in enumerate(lines)]


def _grid(arm: Arm) -> str:
    """Return how much of the grid an arm tries; "" for another sampler."""
    if arm.space.search.sampler != "grid":
        return ""
    size, most = grid_size(arm.parameters), arm.budget.num_samples
    return f"all {size} points of the grid" if most == size else f"{most} of the {size} points of the grid"


def _first(arm: Arm) -> list[str]:
    """Return the lines about an arm's first trials."""
    lines, warm = [], arm.space.warm_start
    for number, sample in enumerate(arm.first_samples[: arm.budget.num_samples], start=1):
        values = ", ".join(f"{name} {value_text(value)}" for name, value in sample.items())
        own = "the settings: " if number == 1 and arm.begins_with_settings else ""
        own = own or (f"from {warm.study}: " if warm and sample in warm.points.get(arm.method, ()) else "")
        lines.append(f"trial {number} of {arm.method}: {own}{values}")
    if warm and (outside := warm.outside.get(arm.method)):
        lines.append(f"{outside} better of {warm.study} lie outside the space of {arm.method} and are left out")
    if not first_samples(arm.parameters, arm.settings, None)[0]:
        _, errors = first_samples(arm.parameters, arm.settings, [{}])
        reason = errors[0].partition(": ")[2].partition(",")[0]
        lines.append(f"no trial of {arm.method} has the settings themselves, which lie outside: {reason}")
    return lines
