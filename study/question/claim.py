"""The `[claim]` table of a search file: the margins, in mm, that a claim is judged by, stated before any result."""

from collections.abc import Mapping

from jointnet.aggregation import ENDPOINTS
from study.question.toml_table import TomlTable, is_positive, is_table

RULE = "must be a number of mm above 0"


def read_margin(table: TomlTable) -> float | Mapping[str, float] | None:
    """Read how much worse, in mm, still counts as not inferior; a file without the table claims nothing.

    Returns:
        One number, of LV CD, or numbers by endpoint, such as `cd_mm/lv`; None without a claim or with a fault.
    """
    rule = f"{RULE}, of LV CD, or a table of such numbers by endpoint"
    margin = table.take("margin_mm", lambda value: is_table(value) or is_positive(value), rule)
    table.finish()
    if not is_table(margin):
        return None if margin is None else float(margin)
    own = TomlTable(f"{table.where}margin_mm.", margin, table.faults)
    read = {name: own.take(name, is_positive, RULE, None) for name in map("/".join, ENDPOINTS)}
    own.finish()
    if not margin:
        table.faults.append(f"{table.where}margin_mm: must name at least one endpoint, got none")
    return {name: float(value) for name, value in read.items() if value is not None}
