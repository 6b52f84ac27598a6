"""The settings in which arms differ, and whether they differ in more than the question."""

from collections.abc import Mapping, Sequence

from study.arm_differences import TRIALS, Given, differences, key_name, sentence
from study.report.analysis import Analysis
from study.report.page import Block, Text
from study.report.store.records import ArmRecord, StudyRecord
from study.report.tables import Table, text_row

_NOTE = (
    "Settings in which arms differ, as given before the search; a setting that has no effect on an arm is empty. The "
    "sampled values are in section Hyperparameter search."
)


def given_blocks(study: StudyRecord, analysis: Analysis) -> tuple[Block, ...]:
    """Return the sentence and the table; empty with one arm, or where an older study did not record what arms had."""
    given = given_to(analysis.arms)
    if len(given) < 2 or len(given) < len(analysis.arms):
        return ()
    table = given_table(given, {name: records[0].method for name, records in analysis.arms.items()})
    return Text(sentence(given, _own(study))), *((table,) if table.rows else ())


def _own(study: StudyRecord) -> set[str]:
    """Return the settings that the named arms of the search files fix for themselves."""
    methods = [
        method for search in study.specification.get("searches", []) for method in search.get("methods", {}).values()
    ]
    return {key for method in methods for key in method["fixed"]}


def given_to(arms: Mapping[str, Sequence[ArmRecord]]) -> dict[str, Given]:
    """Return what each arm was given in its first fold, with its number of trials over all folds, by arm."""
    return {
        name: {**records[0].given, TRIALS: str(sum(len(record.trials) for record in records))}
        for name, records in arms.items()
        if records[0].given
    }


def given_table(given: Mapping[str, Given], method_of: Mapping[str, str]) -> Table:
    """Return the table of differences: one row per setting, one column per method.

    Args:
        given: what each arm was given.
        method_of: the method of each arm.
    """
    methods = tuple(dict.fromkeys(method_of.values()))
    rows = []
    for key, values in differences(given).items():
        cells = [_cell({arm: value for arm, value in values.items() if method_of[arm] == name}) for name in methods]
        rows.append(text_row([key_name(key), *cells]))
    return Table("given", "What each arm was given.", methods, tuple(rows), "Setting", _NOTE)


def _cell(values: Mapping[str, str]) -> str:
    """Return the values of a method's arms: one text where they are equal, else each value with its arms."""
    distinct = dict.fromkeys(values.values())
    if len(distinct) < 2:
        return next(iter(distinct), "")
    return "; ".join(f"{value} ({', '.join(arm for arm in values if values[arm] == value)})" for value in distinct)
