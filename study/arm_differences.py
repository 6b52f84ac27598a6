"""The settings and data of each arm of a study, and whether arms differ in more than the question.

The plan and the report use it: the plan has the settings, the report reads the same texts from the tracking store. This
module imports nothing of the project.

What an arm was given is a mapping from keys to texts: dotted settings keys that have an effect on its model, and the
keys below. Arms are compared in the keys that they all have.
"""

from collections.abc import Iterable, Mapping, Sequence

MODEL, TRAIN, VALIDATION = "model.name", "split.train", "split.validation"
"""The model, and the annotated patients that an arm learns from and validates on. A model that only registers learns
nothing from patients of whom one scan is labelled."""
UNLABELLED = "data.unlabelled"
"""Number of patients without labels that an arm learns from by pseudo-labels; no key of studies without any."""
LENGTH = "training.length"
"""Length of a training: optimiser steps, or passes over a number of patients, whose steps differ with that number."""
STEPS = "training.steps"
"""The setting of the optimiser steps; with it, `LENGTH` differs where it does."""
SEARCHED, WEIGHTS = "search.parameters", "search.loss_weights"
"""The searched parameters. Those that weigh the branches of a loss are apart: only a model that segments has several,
so that others search fewer parameters."""
NOTHING_SEARCHED = {SEARCHED: "none", WEIGHTS: "none"}
"""What an arm searches with a single trial, which leaves nothing to choose."""
WARM_START = "search.warm_start"
"""The study whose best points were tried first, or none; no key in studies of older versions."""
TRIALS = "search.trials"
"""Trials of the search. They are no parameter in the tracking store, since a study may be continued with more."""
HEAD, POOLING, REFINEMENT = "model.head", "registration.pooling", "registration.refinement"
"""The stages of the registration."""
ALWAYS_NAMED = (MODEL, HEAD, POOLING, REFINEMENT, LENGTH)
"""What plan and report name also where all arms have the same."""
QUESTION = (MODEL, TRAIN)
"""The question of a study's comparisons: joint against stand-alone, fewer against more patients. In a search file with
named arms it includes what these fix for themselves."""
_NAMES = {
    MODEL: "model",
    TRAIN: "training patients",
    VALIDATION: "validation patients",
    UNLABELLED: "patients with pseudo-labels",
    LENGTH: "number of optimiser steps",
    SEARCHED: "searched parameters",
    WEIGHTS: "searched loss weights",
    WARM_START: "warm start",
    TRIALS: "trials",
}

Given = Mapping[str, str]


def length_text(steps: int | None, epochs: int, patients: int) -> str:
    """Return the length of a training as text. Epochs are equal lengths for equal numbers of patients only."""
    return f"{steps} steps" if steps is not None else f"{epochs} epochs of {patients} patients"


def annotated_training(given: Given, planned: int) -> int:
    """Return the number of annotated patients that an arm learns from.

    It is the `planned` number of training patients where a study of an older version did not record it.
    """
    return int(given.get(TRAIN, planned))


def span(numbers: Iterable[int]) -> str:
    """Return the numbers of several folds as text, such as `20`, or `20-22` where they differ."""
    every = sorted(set(numbers))
    return "-".join(map(str, dict.fromkeys((every[0], every[-1]))))


def differences(given: Mapping[str, Given]) -> dict[str, dict[str, str]]:
    """Return the values of all arms for each key in which at least two arms differ, by key and arm.

    A key that an arm lacks has no effect on it and is not a difference.
    """
    rows = _rows(given, dict.fromkeys(key for values in given.values() for key in values))
    return {key: row for key, row in rows.items() if len(set(row.values())) > 1}


def named(given: Mapping[str, Given]) -> dict[str, dict[str, str]]:
    """Return the values of all arms for each key that is named: `ALWAYS_NAMED`, then the others in which arms differ.

    A key that no arm has is left out.
    """
    rows = _rows(given, dict.fromkeys((*ALWAYS_NAMED, *differences(given))))
    return {key: row for key, row in rows.items() if row}


def _rows(given: Mapping[str, Given], keys: Iterable[str]) -> dict[str, dict[str, str]]:
    """Return the values of the arms that have a key, by key and arm."""
    return {key: {arm: values[key] for arm, values in given.items() if key in values} for key in keys}


def beyond_question(given: Mapping[str, Given], own: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the keys, other than those of the question, in which at least two arms differ.

    Args:
        given: what each arm was given.
        own: the settings that the named arms of a search file fix for themselves. They are part of the question.
    """
    asked = {*QUESTION, *own}
    lengths = {(values.get(STEPS), values.get(LENGTH)) for values in given.values()}
    if STEPS in asked and len({steps for steps, _ in lengths}) == len(lengths):
        asked.add(LENGTH)
    return tuple(key for key in differences(given) if key not in asked)


def key_name(key: str) -> str:
    """Return the name of a key in sentences and tables."""
    return _NAMES.get(key, key)


def sentence(given: Mapping[str, Given], own: Iterable[str] = ()) -> str:
    """Return the sentence about what the arms differ in, `own` as in `beyond_question`; "" for a single arm."""
    if len(given) < 2:
        return ""
    keys = beyond_question(given, own)
    asked = [key_name(key) for key in differences(given) if key not in keys]
    beyond = [key_name(key) for key in keys]
    if not beyond:
        return f"The arms differ in {_listed(asked)} only." if asked else "The arms do not differ."
    return (
        f"The arms differ in more than the question: in {_listed(beyond)}{' besides ' if asked else ''}"
        f"{_listed(asked)}. A difference between two arms may be due to any of these that they do not share."
    )


def by_value(row: Mapping[str, str], methods: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return the arms by their value of one key, in the order of the arms.

    Args:
        row: the value of each arm.
        methods: the method of each arm. Its name replaces those of its arms where all of them have the same value.
    """
    whole = {method for method in methods.values() if len({row[arm] for arm in row if methods[arm] == method}) == 1}
    names = {arm: methods[arm] if methods[arm] in whole else arm for arm in row}
    return {
        value: tuple(dict.fromkeys(names[arm] for arm in row if row[arm] == value))
        for value in dict.fromkeys(row.values())
    }


def _listed(names: Sequence[str]) -> str:
    """Return names as a list in a sentence, such as `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
