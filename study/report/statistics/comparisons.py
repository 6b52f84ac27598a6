"""Comparisons of each arm with before registration and of arms with each other, per endpoint, paired by patient."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import pandas as pd

from jointnet.evaluate.aggregation import ENDPOINTS, Endpoint
from jointnet.patient_names import natural_key
from study.report.statistics.cross_validation import FoldTest, fold_test, untested_folds
from study.report.statistics.deciding import DecidingTest, deciding_test
from study.report.statistics.paired import (
    Interval,
    PairedTest,
    bootstrap_difference,
    bootstrap_relative_change,
    holm,
    mean_sd,
    paired_test,
    untested,
    without,
)
from study.report.statistics.trainings import Trainings
from study.report.store.slice_rows import of_metric


@dataclass(frozen=True)
class Comparison:
    """One endpoint in two conditions, `compared` minus `reference`. Values are in the unit of the metric.

    Attributes:
        metric, structure: the endpoint.
        reference_mean, compared_mean: means over patients, NaN where there are none.
        test: the tests over patients with the 95 % t interval. They take the trained models as given.
        deciding: the test that decides between methods.
        pairs: the values of the two conditions, one per patient.
        places: the fold of each patient.
        trainings: the trainings of the arms that are compared; None where unknown.
        holm_p, holm_wilcoxon_p, holm_deciding_p: p values adjusted over all endpoints of the comparison, or NaN.
    """

    metric: str
    structure: str
    reference_mean: float
    compared_mean: float
    test: PairedTest
    deciding: DecidingTest
    pairs: tuple[np.ndarray, np.ndarray] = field(repr=False, compare=False)
    places: np.ndarray = field(repr=False, compare=False)
    trainings: Trainings | None
    holm_p: float = math.nan
    holm_wilcoxon_p: float = math.nan
    holm_deciding_p: float = math.nan

    @property
    def reason(self) -> str:
        """The reason why there is no test over patients; empty where there is one."""
        return self.test.reason

    @cached_property
    def folds(self) -> FoldTest:
        """The corrected resampled t-test over folds."""
        patients = None if self.trainings is None else self.trainings.patients
        return fold_test(*self.pairs, self.places, patients) if len(self.pairs[0]) else untested_folds(self.reason)

    @cached_property
    def bootstrap(self) -> Interval:
        """The bootstrap interval of the mean difference, computed when first used because that takes longest."""
        return bootstrap_difference(*self.pairs) if len(self.pairs[0]) else without(self.reason)

    @cached_property
    def relative(self) -> Interval:
        """compared_mean / reference_mean - 1 with its bootstrap interval; no unit."""
        return bootstrap_relative_change(*self.pairs) if len(self.pairs[0]) else without(self.reason)


def compare_with_before(
    patients: pd.DataFrame, trainings: Trainings | None = None, endpoints: Sequence[Endpoint] = ENDPOINTS
) -> tuple[Comparison, ...]:
    """Compare an arm after registration with before, Holm over the endpoints.

    Args:
        patients: the arm's patients over all folds, as returned by `study.report.store.slice_rows.over_folds`.
        trainings: the trainings of the arm; None where unknown.
        endpoints: the family of endpoints; one comparison each, in this order.
    """
    found = []
    for endpoint in endpoints:
        values = _values(patients, "arm", endpoint)
        reason = "" if len(values) else f"no test values of {' of '.join(endpoint)}"
        found.append(compare(endpoint, values["before"], values["after"], trainings, reason))
    return adjusted(found)


def compare_arms(
    patients_of: Mapping[str, pd.DataFrame],
    reference: str,
    compared: str,
    trainings: Trainings | None = None,
    endpoints: Sequence[Endpoint] = ENDPOINTS,
) -> tuple[Comparison, ...]:
    """Compare two arms after registration, Holm over the endpoints.

    Args:
        patients_of: the arms' patients over all folds; an arm without test values may be absent or empty.
        reference: the arm that is subtracted.
        compared: the arm that it is subtracted from.
        trainings: the trainings of both arms together; None where unknown.
        endpoints: the family of endpoints; one comparison each, in this order.
    """
    found = []
    for endpoint in endpoints:
        values, reason = aligned(patients_of, (reference, compared), endpoint)
        found.append(compare(endpoint, values[reference], values[compared], trainings, reason))
    return adjusted(found)


def aligned(
    patients_of: Mapping[str, pd.DataFrame], arms: Sequence[str], endpoint: Endpoint
) -> tuple[pd.DataFrame, str]:
    """Return an endpoint's values after registration, one column per arm, indexed by patient and fold.

    Returns:
        The values and an empty text. Where the arms lack values or were not tested on the same patients, an empty frame
        and the reason. Patients that one arm lacks are never dropped silently.

    Raises:
        ValueError: where a frame has more than one value of a patient.
    """
    nothing = pd.DataFrame({arm: pd.Series(dtype=float) for arm in arms}, index=_index([], []))
    absent = [arm for arm in dict.fromkeys(arms) if arm not in patients_of or patients_of[arm].empty]
    if absent:
        return nothing, f"no test values of {' and '.join(absent)}"
    columns = {arm: _values(patients_of[arm], arm, endpoint)["after"] for arm in arms}
    if all(column.empty for column in columns.values()):
        return nothing, f"no test values of {' of '.join(endpoint)}"
    first = columns[arms[0]].index
    for arm, column in columns.items():
        if not column.index.equals(first):
            patient, fold = first.symmetric_difference(column.index)[0]
            return nothing, f"{arms[0]} and {arm} were not tested on the same patients, e.g. {patient} in fold {fold}"
    values = {arm: column.to_numpy() for arm, column in columns.items()}  # arrays need no alignment, which takes long
    return pd.DataFrame(values, index=first), ""


def compare(
    endpoint: Endpoint, reference: pd.Series, compared: pd.Series, trainings: Trainings | None, reason: str = ""
) -> Comparison:
    """Compare two conditions in one endpoint. The adjusted p values are NaN; `adjusted` computes them for a family.

    Args:
        endpoint: metric and structure.
        reference: one value per patient, indexed by patient and fold.
        compared: the same patients in the same order, same unit.
        trainings: the trainings of the arms that are compared; None where unknown.
        reason: why there are no values to compare; empty where there are.
    """
    places = reference.index.get_level_values("fold").to_numpy()
    if reason:
        reference, compared = reference.iloc[:0], compared.iloc[:0]
    first, second = reference.to_numpy(dtype=float), compared.to_numpy(dtype=float)
    test = untested(reason) if reason else paired_test(first, second)
    return Comparison(
        *endpoint,
        reference_mean=mean_sd(first)[0],
        compared_mean=mean_sd(second)[0],
        test=test,
        deciding=deciding_test(test, second - first, places, trainings),
        pairs=(first, second),
        places=places,
        trainings=trainings,
    )


def adjusted(family: Sequence[Comparison]) -> tuple[Comparison, ...]:
    """Return the comparisons with p values adjusted by Holm. Comparisons without a test count in the family."""
    student = holm([comparison.test.p for comparison in family])
    wilcoxon = holm([comparison.test.wilcoxon_p for comparison in family])
    deciding = holm([comparison.deciding.p for comparison in family])
    return tuple(
        replace(comparison, holm_p=float(p), holm_wilcoxon_p=float(rank_p), holm_deciding_p=float(deciding_p))
        for comparison, p, rank_p, deciding_p in zip(family, student, wilcoxon, deciding, strict=True)
    )


def comparison_frame(comparisons: Mapping[tuple[str, str], Sequence[Comparison]]) -> pd.DataFrame:
    """Return one line per comparison, unrounded, for a CSV file.

    Args:
        comparisons: by `(reference, compared)`, such as `("before", "joint-25")`.
    """
    lines = [
        {"reference": reference, "compared": compared, **comparison_line(comparison)}
        for (reference, compared), family in comparisons.items()
        for comparison in family
    ]
    return pd.DataFrame(lines)


def comparison_line(comparison: Comparison) -> dict[str, object]:
    """Return the values of one comparison by name, unrounded."""
    test, bootstrap, relative, folds = comparison.test, comparison.bootstrap, comparison.relative, comparison.folds
    return {
        "metric": comparison.metric,
        "structure": comparison.structure,
        "n": test.patients,
        "reference_mean": comparison.reference_mean,
        "compared_mean": comparison.compared_mean,
        "difference": test.difference,
        "difference_sd": test.difference_sd,
        "low": test.low,
        "high": test.high,
        "t": test.t,
        "p": test.p,
        "holm_p": comparison.holm_p,
        "wilcoxon": test.wilcoxon,
        "wilcoxon_p": test.wilcoxon_p,
        "holm_wilcoxon_p": comparison.holm_wilcoxon_p,
        "wilcoxon_method": test.wilcoxon_method,
        "bootstrap_low": bootstrap.low,
        "bootstrap_high": bootstrap.high,
        "bootstrap_method": bootstrap.method,
        "relative_change": relative.estimate,
        "relative_low": relative.low,
        "relative_high": relative.high,
        "relative_method": relative.method,
        "folds": folds.folds,
        "fold_difference": folds.difference,
        "fold_p": folds.p,
        "fold_low": folds.low,
        "fold_high": folds.high,
        "scope": comparison.deciding.scope,
        "deciding_low": comparison.deciding.low,
        "deciding_high": comparison.deciding.high,
        "deciding_p": comparison.deciding.p,
        "holm_deciding_p": comparison.holm_deciding_p,
        "deciding_over": comparison.deciding.over,
        "detectable": comparison.deciding.detectable,
        "reason": test.reason,
        "bootstrap_reason": bootstrap.reason,
        "relative_reason": relative.reason,
        "fold_reason": folds.reason,
    }


def _values(patients: pd.DataFrame, arm: str, endpoint: Endpoint) -> pd.DataFrame:
    """Return one endpoint's values before and after registration, indexed by and sorted by patient and fold.

    Raises:
        ValueError: where a patient has more than one value.
    """
    chosen = of_metric(patients, *endpoint)
    names, folds = chosen["patient"].to_numpy(), chosen["fold"].to_numpy()
    if len(set(names)) < len(names):
        twice = chosen.loc[chosen["patient"].duplicated(), "patient"].iloc[0]
        raise ValueError(f"{arm}: patient {twice} has more than one value of {' of '.join(endpoint)}")
    order = sorted(range(len(names)), key=lambda place: natural_key(str(names[place])))
    values = chosen[["before", "after"]].to_numpy(dtype=float)[order]
    return pd.DataFrame(values, index=_index(names[order], folds[order]), columns=["before", "after"])


def _index(patients: Sequence[str] | np.ndarray, folds: Sequence[int] | np.ndarray) -> pd.MultiIndex:
    return pd.MultiIndex.from_arrays([np.asarray(patients), np.asarray(folds)], names=["patient", "fold"])
