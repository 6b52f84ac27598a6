"""What each arm was given, and whether arms differ in more than the question."""

from collections.abc import Mapping, Sequence

from study.arm_differences import (
    HEAD,
    LENGTH,
    MODEL,
    POOLING,
    REFINEMENT,
    TRAIN,
    TRIALS,
    VALIDATION,
    Given,
    key_name,
    named,
    sentence,
)
from study.report.analysis import Analysis
from study.report.page import Block, Text
from study.report.store.records import ArmRecord, StudyRecord
from study.report.tables import Table, text_row
from study.store_names import DESCRIPTORS

DESCRIPTORS_GIVEN: Given = {
    **{MODEL: DESCRIPTORS, HEAD: "none", POOLING: "patient", REFINEMENT: "descriptors", LENGTH: "none"},
    **{TRAIN: "0", VALIDATION: "0", TRIALS: "0"},
}
"""What the row without annotation has in every study: the default stages after no network."""

_NOTE = (
    "Model, stages of the registration and length of the training, then the other settings in which arms differ, as "
    "given before the search; a setting that has no effect on an arm is empty. The sampled values are in section "
    "Hyperparameter search."
)


def given_blocks(study: StudyRecord, analysis: Analysis) -> tuple[Block, ...]:
    """Return the sentence about several arms and the table; empty where an older study did not record what arms had."""
    given = given_to(analysis.arms)
    if not given or len(given) < len(analysis.arms):
        return ()
    text = sentence(given, _own(study))
    untrained = {DESCRIPTORS: DESCRIPTORS_GIVEN} if DESCRIPTORS in analysis.baselines else {}
    table = given_table(given, {name: records[0].method for name, records in analysis.arms.items()}, untrained)
    return *((Text(text),) if text else ()), table


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


def given_table(given: Mapping[str, Given], method_of: Mapping[str, str], untrained: Mapping[str, Given]) -> Table:
    """Return the table of what the arms were given: one row per setting, one column per method.

    Args:
        given: what each arm was given.
        method_of: the method of each arm.
        untrained: what each method without training has, for further columns.
    """
    methods = tuple(dict.fromkeys(method_of.values()))
    rows = []
    for key, values in named(given).items():
        cells = [_cell({arm: value for arm, value in values.items() if method_of[arm] == name}) for name in methods]
        rows.append(text_row([key_name(key), *cells, *(own.get(key, "") for own in untrained.values())]))
    return Table("given", "What each arm was given.", (*methods, *untrained), tuple(rows), "Setting", _NOTE)


def _cell(values: Mapping[str, str]) -> str:
    """Return the values of a method's arms: one text where they are equal, else each value with its arms."""
    distinct = dict.fromkeys(values.values())
    if len(distinct) < 2:
        return next(iter(distinct), "")
    return "; ".join(f"{value} ({', '.join(arm for arm in values if values[arm] == value)})" for value in distinct)
