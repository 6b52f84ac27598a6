import math
import statistics

import numpy as np
import pandas as pd
import pytest
import torch
from scans import feed_forward_settings, heart, prepared, whole_field
from torch import nn

from jointnet.common_grid import HALF_EXTENT_MM, PIXEL_MM, SIZE_PX
from jointnet.evaluate.aggregation import (
    ENDPOINTS,
    endpoints_of,
    measured_endpoints,
    named_metrics,
    patient_means,
    ratio_text,
    registration_ratio,
    summarise,
)
from jointnet.evaluate.metrics import (
    LOST_MM,
    defined_metrics,
    labelled_structures,
    metrics_before,
    overlap_metrics,
    undefined_metric_errors,
)
from jointnet.evaluate.rows import COLUMNS, cut_structure_rows, evaluate, patient_rows
from jointnet.geometry import identity
from jointnet.networks import Output
from jointnet.networks.apply import Prediction
from jointnet.structures import CLASS_INDEX, STRUCTURES

ALL = {("cd_mm", "lv"), ("cd_mm", "rv"), *((m, s) for m in ("asd_mm", "dice") for s in ("lv", "myo", "rv"))}


def shift(columns_mm, rows_mm, slices=1):
    theta = identity(slices).numpy()
    theta[:, :, 2] = np.array([columns_mm, rows_mm]) / HALF_EXTENT_MM
    return theta


def without(codes, *structures):
    result = codes.copy()
    result[np.isin(codes, [CLASS_INDEX[name] for name in structures])] = 0
    return result


def table(cine, lge, prediction=None, patient="7", field=None):
    labels = np.stack([np.stack(cine), np.stack(lge)], 1)
    before = metrics_before(labels, whole_field(labels) if field is None else field)
    return pd.DataFrame(patient_rows(patient, labels, before, prediction), columns=list(COLUMNS))


def keys(rows):
    return set(zip(rows["metric"], rows["structure"], strict=True))


def value(rows, metric, structure, column="after"):
    (found,) = rows.loc[(rows["metric"] == metric) & (rows["structure"] == structure), column]
    return found


def test_a_known_shift_is_measured_before_and_gone_after():
    rows = table([heart()], [heart((6.0, -4.5))], Prediction(shift(6.0, -4.5), None, None))
    assert keys(rows) == ALL
    assert set(rows["patient"]) == {"7"}
    assert set(rows["slice"]) == {0}
    assert value(rows, "cd_mm", "lv", "before") == pytest.approx(7.5)
    assert value(rows, "cd_mm", "lv") == pytest.approx(0, abs=1e-6)
    assert value(rows, "asd_mm", "myo") == 0
    assert value(rows, "dice", "rv") == 1
    for (metric, structure), expected in overlap_metrics(heart(), heart((6.0, -4.5))).items():
        assert value(rows, metric, structure, "before") == expected
    assert not rows["lost"].any()


def test_doing_nothing_leaves_after_at_before():
    rows = table([heart(), heart((1, 2))], [heart((6.0, -4.5)), heart((3, 3))])
    assert len(rows) == 16
    pd.testing.assert_series_equal(rows["before"], rows["after"], check_names=False)
    assert registration_ratio(rows) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    ("cine_lacks", "lge_lacks", "counted"),
    [((), (), {"lv", "myo", "rv"}), (("rv",), (), {"lv", "myo"}), ((), ("rv",), {"lv", "myo"}),
     (("rv",), ("lv",), {"myo"}), (("lv", "myo"), ("rv",), set()), (("lv", "myo", "rv"), (), set())],
)  # fmt: skip
def test_a_slice_counts_for_a_structure_that_both_labels_hold(cine_lacks, lge_lacks, counted):
    labels = heart()
    prediction = Prediction(shift(0, 0), labels[None], labels[None])
    rows = table([without(heart(), *cine_lacks)], [without(heart(), *lge_lacks)], prediction)
    assert set(rows["structure"]) == counted
    assert not rows.drop(columns="before").isna().any(axis=None)
    assert set(rows["metric"]) == ({"cd_mm", "asd_mm", "dice", "dice_cine", "dice_lge"} if counted else set()) - (
        {"cd_mm"} if counted == {"myo"} else set()
    )


def test_slices_keep_their_number():
    blank = np.zeros((224, 224), np.uint8)
    rows = table([blank, heart(), blank, heart()], [heart(), heart(), blank, heart()])
    assert sorted(set(rows["slice"])) == [1, 3]


def test_a_lost_structure_is_scored_and_flagged_and_not_dropped():
    """Moved by 75 mm to the left, the RV pool at -38 +- 14 mm is outside the field of +-84 mm; the LV is inside."""
    rows = table([heart()], [heart()], Prediction(shift(75.0, 0.0), None, None))
    assert keys(rows) == ALL
    for metric, structure in ALL:
        lost = structure == "rv"
        assert value(rows, metric, structure, "lost") == lost
        if lost:
            assert value(rows, metric, structure) == (0 if metric == "dice" else LOST_MM)
        else:
            assert math.isfinite(value(rows, metric, structure))
    assert value(rows, "cd_mm", "lv") == pytest.approx(75.0, abs=8)
    everything = table([heart()], [heart()], Prediction(shift(400.0, 0.0), None, None))
    assert everything["lost"].all()
    assert set(everything.loc[everything["metric"] != "dice", "after"]) == {LOST_MM}
    assert named_metrics(rows, "val")["val/lost"] == 1
    assert named_metrics(everything, "val")["val/lost"] == 3


def test_segmentations_are_compared_with_their_own_labels():
    cine, lge = heart(), heart((9, 0))
    prediction = Prediction(shift(0, 0), cine[None], without(lge, "rv")[None])
    rows = table([cine], [lge], prediction)
    for structure in ("lv", "myo", "rv"):
        assert value(rows, "dice_cine", structure) == 1
        assert value(rows, "dice_lge", structure) == (0 if structure == "rv" else 1)
        assert math.isnan(value(rows, "dice_cine", structure, "before"))


class Shifter(nn.Module):
    settings = feed_forward_settings()

    def forward(self, cine, lge):
        return Output(torch.from_numpy(shift(6.0, -4.5, len(cine))))


def test_evaluate_goes_through_patients(tmp_path):
    labels = np.stack([np.stack([heart(place), heart(place + np.array([6.0, -4.5]))]) for place in np.eye(2) * 3])
    patients = [prepared(tmp_path, number, labels) for number in (4, 2)]
    before, after = evaluate(None, patients), evaluate(Shifter(), patients)
    assert list(after.columns) == list(COLUMNS)
    assert len(before) == len(after) == 2 * 2 * 8
    assert set(after["patient"]) == {"2", "4"}
    np.testing.assert_allclose(after.loc[after["metric"] == "cd_mm", "after"], 0, atol=1e-6)
    np.testing.assert_allclose(before.loc[before["metric"] == "cd_mm", "after"], 7.5, atol=0.15)
    pd.testing.assert_series_equal(before["before"], after["before"])
    assert registration_ratio(after) < 1e-3


def cut_beside_the_rv(labels):
    """Return a field that ends in the RV, 38 mm left of the centre."""
    field = whole_field(labels)
    field[:, :, : int(SIZE_PX / 2 - 38 / PIXEL_MM)] = False
    return field


def test_structures_that_the_field_cuts_are_left_out_of_all_metrics_and_listed(tmp_path):
    labels = np.stack([np.stack([heart(), heart((6.0, -4.5))])] * 2)
    field = whole_field(labels)
    field[1] = cut_beside_the_rv(labels)[1]
    whole, cut = prepared(tmp_path, 1, labels), prepared(tmp_path, 2, labels, field=field)
    segmenting = Prediction(shift(6.0, -4.5, 2), labels[:, 0], labels[:, 1])
    rows = pd.DataFrame(patient_rows("2", labels, metrics_before(labels, field), segmenting))
    assert set(rows.loc[rows["slice"] == 1, "structure"]) == {"lv", "myo"}
    assert set(rows.loc[rows["slice"] == 0, "structure"]) == {"lv", "myo", "rv"}
    of_both = evaluate(Shifter(), [whole, cut])
    pd.testing.assert_frame_equal(of_both[of_both["patient"] == "1"], evaluate(Shifter(), [whole]))
    kept = of_both[(of_both["patient"] == "1") & ((of_both["slice"] == 0) | (of_both["structure"] != "rv"))]
    found = of_both[of_both["patient"] == "2"].drop(columns="patient").reset_index(drop=True)
    pd.testing.assert_frame_equal(found, kept.drop(columns="patient").reset_index(drop=True))
    assert cut_structure_rows([whole, cut]).to_dict("records") == [{"patient": "2", "slice": 1, "structure": "rv"}]
    assert cut_structure_rows([whole]).empty


def test_a_structure_that_only_one_label_map_shows_is_not_counted_as_left_out(tmp_path):
    labels = np.stack([np.stack([heart(), without(heart(), "rv")])])
    assert cut_structure_rows([prepared(tmp_path, 1, labels, field=cut_beside_the_rv(labels))]).empty


def test_a_patient_whose_every_slice_of_a_structure_is_cut_has_no_metric_of_it(tmp_path):
    labels = np.stack([np.stack([heart(), heart((6.0, -4.5))])] * 2)
    cut = prepared(tmp_path, 1, labels, field=cut_beside_the_rv(labels))
    rows = evaluate(Shifter(), [cut, prepared(tmp_path, 2, labels)])
    assert summarise(rows)["patients"].to_dict() == {key: 1 if key[1] == "rv" else 2 for key in ALL}
    assert measured_endpoints(evaluate(Shifter(), [cut])) == endpoints_of(("lv", "myo"))
    defined = defined_metrics(labels, cut_beside_the_rv(labels))
    assert labelled_structures(defined) == ("lv", "myo")
    (error,) = undefined_metric_errors("--val: patients", {"1": defined}, "measured", STRUCTURES)
    assert "must show rv in both segmentations of a slice, wholly in the common field" in error
    nothing = prepared(tmp_path, 3, labels, field=~whole_field(labels))
    assert evaluate(Shifter(), [nothing]).empty and len(cut_structure_rows([nothing])) == 6


# Aggregation of hand-made rows


def made_up(values):
    """Return rows from tuples (patient, slice, metric, structure, before, after)."""
    rows = [
        dict(zip(("patient", "slice", "metric", "structure", "before", "after"), row, strict=True)) for row in values
    ]
    return pd.DataFrame(rows).assign(lost=False)


def test_patients_weigh_the_same_however_many_slices_they_have():
    lv = ("cd_mm", "lv")
    first = [("1", 0, *lv, 2.0, 1.0), ("1", 1, *lv, 4.0, 2.0), ("1", 5, *lv, 9.0, 6.0)]
    rows = made_up([*first, ("2", 0, *lv, 1.0, 0.5), ("3", 0, *lv, 6.0, 8.0)])
    means = {"before": [5.0, 1.0, 6.0], "after": [3.0, 0.5, 8.0]}
    summary = summarise(rows).loc[("cd_mm", "lv")]
    for when, expected in means.items():
        assert patient_means(rows)[when].tolist() == pytest.approx(expected)
        assert summary[f"{when}_mean"] == pytest.approx(statistics.mean(expected))
        assert summary[f"{when}_sd"] == pytest.approx(statistics.stdev(expected))
    assert summary["patients"] == 3


def test_a_patient_without_a_structure_does_not_count_for_it():
    rows = made_up(
        [("1", 0, "dice", "lv", 0.5, 0.6), ("2", 0, "dice", "lv", 0.7, 0.9), ("2", 0, "dice", "rv", 0.1, 0.2)]
    )
    summary = summarise(rows)
    assert summary.loc[("dice", "rv"), "patients"] == 1
    assert math.isnan(summary.loc[("dice", "rv"), "after_sd"])
    assert summary.loc[("dice", "lv"), "after_mean"] == pytest.approx(0.75)


def endpoint_rows(before, after, patients=("1",)):
    return made_up(
        [(p, 0, m, s, b, a) for p in patients for (m, s), b, a in zip(ENDPOINTS, before, after, strict=True)]
    )


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([1, 2, 3, 4, 5], [1, 2, 3, 4, 5], 1),
        ([2, 2, 2, 2, 2], [1, 1, 1, 1, 1], 0.5),
        ([1, 1, 1, 1, 1], [2, 1, 1, 1, 1], 2 ** (1 / 5)),
        ([1, 2, 4, 8, 16], [2, 2, 2, 2, 2], (2**5 / 2**10) ** (1 / 5)),
        ([3, 5, 7, 2, 4], [4, 2, 5, 6, 1], (4 * 2 * 5 * 6 * 1 / (3 * 5 * 7 * 2 * 4)) ** (1 / 5)),
    ],
)
def test_the_ratio_is_the_geometric_mean_over_the_five_endpoints(before, after, expected):
    assert registration_ratio(endpoint_rows(before, after)) == pytest.approx(expected)


def test_the_ratio_takes_means_over_patients_first():
    rows = pd.concat([endpoint_rows([1] * 5, [1] * 5, ("1",)), endpoint_rows([5] * 5, [2] * 5, ("2",))])
    assert registration_ratio(rows) == pytest.approx(3 / 6)


@pytest.mark.parametrize("missing", [{0}, {4}, {3, 4}, {0, 1, 3, 4}], ids=str)
def test_the_ratio_is_over_the_metrics_that_there_are(missing):
    after = [1.0, 2.0, 3.0, 4.0, 5.0]
    rows = endpoint_rows([2] * 5, after).drop(index=missing)
    kept = [value / 2 for place, value in enumerate(after) if place not in missing]
    expected = math.prod(kept) ** (1 / len(kept))
    assert registration_ratio(rows) == pytest.approx(expected)
    assert named_metrics(rows, "val")["val/registration_ratio"] == pytest.approx(expected)
    assert measured_endpoints(rows) == tuple(end for place, end in enumerate(ENDPOINTS) if place not in missing)


@pytest.mark.parametrize(
    ("structures", "text"),
    [
        (("lv", "myo"), "geometric mean over LV CD, LV ASD, myocardium ASD"),
        (("lv", "myo", "rv"), "geometric mean over LV CD, LV ASD, myocardium ASD, RV CD, RV ASD"),
        (("myo",), "geometric mean over myocardium ASD"),
    ],
)
def test_a_text_says_over_which_metrics_the_ratio_is(structures, text):
    assert ratio_text(endpoints_of(structures)) == text


def test_the_ratio_is_nan_where_the_scans_agree_already():
    assert math.isnan(registration_ratio(endpoint_rows([0, 1, 1, 1, 1], [1] * 5)))


def test_segmentations_do_not_enter_the_ratio():
    rows = pd.concat([endpoint_rows([2] * 5, [1] * 5), made_up([("1", 0, "dice_cine", "lv", math.nan, 0.1)])])
    assert registration_ratio(rows) == pytest.approx(0.5)


def test_named_metrics_are_the_means_after_registration():
    rows = table([heart()], [heart((6.0, -4.5))], Prediction(shift(6.0, -4.5), heart()[None], heart((6.0, -4.5))[None]))
    named = named_metrics(rows, "val")
    assert set(named) == {
        "val/registration_ratio",
        "val/lost",
        *(f"val/{metric}/{structure}" for metric, structure in ALL),
        *(f"val/{metric}/{structure}" for metric in ("dice_cine", "dice_lge") for structure in ("lv", "myo", "rv")),
    }
    assert all(type(number) is float for number in named.values())
    assert named["val/dice_cine/lv"] == 1
    assert named["val/cd_mm/lv"] == pytest.approx(0, abs=1e-6)


def test_patients_that_share_nothing_have_no_rows_and_the_ratio_nan(tmp_path):
    labels = np.stack([np.stack([without(heart(), "rv"), without(heart(), "lv", "myo")])])
    rows = evaluate(None, [prepared(tmp_path, 1, labels)])
    assert list(rows.columns) == list(COLUMNS)
    assert rows.empty
    assert math.isnan(registration_ratio(rows))
    assert named_metrics(rows, "val")["val/lost"] == 0
    assert summarise(rows).empty


def test_a_motion_that_is_not_finite_loses_everything_and_does_not_raise():
    rows = table([heart()], [heart()], Prediction(np.full((1, 2, 3), np.nan, np.float32), None, None))
    assert math.isfinite(rows["after"].sum())
