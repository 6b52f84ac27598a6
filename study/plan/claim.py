"""Reads the `[claim]` table of a search file: the non-inferiority margins in mm, fixed before any result."""

from collections.abc import Mapping

from jointnet.evaluate.aggregation import ENDPOINTS
from study.plan.toml_table import TomlTable, is_positive, is_table

RULE = "must be a number of mm above 0"


def read_margin(table: TomlTable) -> float | Mapping[str, float] | None:
    """Read the non-inferiority margin in mm. A file without the table makes no claim.

    Returns:
        One number for the centroid distance (CD) of the LV, or a number per endpoint, such as `cd_mm/lv`. None where
        there is no claim or the value is invalid; errors are added to the table's `errors`.
    """
    rule = f"{RULE}, of LV CD, or a table of such numbers by endpoint"
    margin = table.take("margin_mm", lambda value: is_table(value) or is_positive(value), rule)
    table.finish()
    if not is_table(margin):
        return None if margin is None else float(margin)
    own = TomlTable(f"{table.where}margin_mm.", margin, table.errors)
    read = {name: own.take(name, is_positive, RULE, None) for name in map("/".join, ENDPOINTS)}
    own.finish()
    if not margin:
        table.errors.append(f"{table.where}margin_mm: must name at least one endpoint, got none")
    return {name: float(value) for name, value in read.items() if value is not None}
