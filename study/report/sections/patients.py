"""Pictures of each arm's best, median and worst test patient, slice by slice: contours, checkerboard and scar."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jointnet.errors import DataError
from jointnet.evaluate.aggregation import measured_endpoints, registration_ratio
from jointnet.outlines import CONTOUR_COLOURS, contour, outline
from jointnet.patient_names import natural_key
from jointnet.scar import ScarSettings
from jointnet.scar.threshold import find_scar
from jointnet.structures import CLASS_INDEX, STRUCTURE_TITLES, STRUCTURES
from study.report.analysis import Analysis
from study.report.figures import Picture
from study.report.page import Block, ColourKey, Details, Heading, Pictures, Section, Text
from study.report.store.records import ArmRecord, StudyRecord
from study.report.store.slice_rows import of_metric

RANKING = (
    "Patients are ranked by their own registration ratio, the geometric mean over the registration metrics of "
    "after / before; with an even number, the better of the two middle patients is shown as the median."
)
_BEFORE_KEY = "One column per slice. Contours:"
_AFTER_KEY = (
    "Above each slice: the distance of the LV centres before and after registration. The checkerboard alternates "
    "fields of cine and registered LGE; structures should continue across the edges of the fields."
)
FRAMES = ("cine", "lge_before", "lge_after", "cine_labels", "lge_labels_before", "lge_labels_after")
CINE_COLOUR, SCAR_COLOUR, TEXT_COLOUR = "#ffffff", "#ff3df2", "#e8edf2"
ROWS = (
    "LGE, scar",
    "Unregistered",
    "Registered",
    "Checkerboard",
    "Scar on cine",
)
PANEL_INCHES = 1.45
DPI = 100
CHECKS = 6
"""Number of checkerboard fields along each side of a slice."""
_LEFT_INCHES, _TOP_INCHES, _GAP_PX = 0.28, 0.42, 2
SPACING_MM = (5.0, 0.75, 0.75)
"""Spacing of the common grid along slices, rows and columns, in mm."""
SCAR_SETTINGS = ScarSettings()
SCAR_RULE = (
    f"Scar is drawn where LGE is brighter than the mean plus {SCAR_SETTINGS.n_sd:g} SD of remote myocardium, the "
    "darkest sector of each slice, inside the manual myocardium label of LGE. For illustration only: these scars were "
    "not marked by a reader."
)


@dataclass(frozen=True)
class ChosenPatient:
    """One patient to be drawn.

    Attributes:
        rank: `best`, `median` or `worst`.
        of: the number of ranked patients.
        ratio: the patient's registration ratio.
        slices: the numbers of the stored slices on the common grid.
        lv_cd_mm: by slice, LV CD before and after registration in mm, of the model that is drawn.
        frames: arrays (S, H, W) by the names of `FRAMES`.
        whole: whether `slices` has all tested slices of the patient; older studies stored one slice.
    """

    arm: str
    fold: int
    patient: str
    rank: str
    of: int
    ratio: float
    slices: tuple[int, ...]
    lv_cd_mm: Mapping[int, tuple[float, float]]
    frames: Mapping[str, np.ndarray]
    whole: bool


def pictures(study: StudyRecord, analysis: Analysis) -> Section:
    """Create the section with the pictures of each arm's median test patient, and of the best and worst on request."""
    chosen = {name: chosen_patients(records) for name, records in analysis.arms.items()}
    contours = [
        (f"LGE, {STRUCTURE_TITLES[name]}", CONTOUR_COLOURS[name]) for name in STRUCTURES if name in analysis.structures
    ]
    colours = (("cine", ""), *contours, ("scar", SCAR_COLOUR))
    blocks: list[Block] = [ColourKey(f"{RANKING} {_BEFORE_KEY}", colours, _AFTER_KEY), Text(SCAR_RULE, "note")]
    for name, patients in chosen.items():
        if patients:
            shown = next((one for one in patients if one.rank == "median"), patients[-1])
            blocks += [Heading(analysis.titles[name], name), _pictures([shown])]
            if others := [one for one in patients if one is not shown]:
                ranks = " and ".join(one.rank for one in others)
                patient = "patient" if len(others) == 1 else "patients"
                blocks.append(Details(f"{ranks.capitalize()} {patient} of {name}", (_pictures(others),)))
    return Section(
        "pictures",
        "Pictures",
        tuple(blocks) if any(chosen.values()) else (),
        subtitle="best, median and worst patient of each arm",
    )


def _pictures(patients: Sequence[ChosenPatient]) -> Pictures:
    return Pictures(tuple(_picture(patient) for patient in patients), titled=True, layout="rows")


def chosen_patients(records: Sequence[ArmRecord]) -> tuple[ChosenPatient, ...]:
    """Return the patients to be drawn from one arm's folds.

    With two patients there is no median, with one only a best. The result is empty where no patient has both stored
    slices and a finite registration ratio.
    """
    ranked = sorted(
        (ratio, record.fold, natural_key(patient))
        for record in records
        if record.rows is not None and record.overlays
        for patient, ratio in _ratios(record.rows).items()
        if math.isfinite(ratio) and patient in record.overlays["patients"]
    )
    if not ranked:
        return ()
    places = {"best": 0, "median": (len(ranked) - 1) // 2, "worst": len(ranked) - 1}
    if len(ranked) < 3:
        places.pop("median")
    if len(ranked) < 2:
        places.pop("worst")
    of_fold = {record.fold: record for record in records}
    chosen = []
    for rank, at in places.items():
        ratio, fold, (_, patient) = ranked[at]
        chosen.append(_chosen(of_fold[fold], rank, len(ranked), ratio, fold, patient))
    return tuple(chosen)


def draw_patient(patient: ChosenPatient) -> Figure:
    """Draw every slice of a patient, one column per slice and one row per entry of `ROWS`.

    The rows from top to bottom:
        1. unregistered LGE with the outline of its scar;
        2. cine with its own contours (white, dashed) and those of unregistered LGE (coloured, solid);
        3. the same with the contours of registered LGE;
        4. a checkerboard of cine and registered LGE;
        5. cine with its own contours and the registered scar, filled.
    """
    frames, count = patient.frames, len(patient.slices)
    before, after = (scar_mask(frames[f"lge_{when}"], frames[f"lge_labels_{when}"]) for when in ("before", "after"))
    width, height = _LEFT_INCHES + PANEL_INCHES * count, _TOP_INCHES + PANEL_INCHES * len(ROWS)
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="black")
    images = (
        _equalised(frames["lge_before"]),
        *(2 * (_equalised(frames["cine"]),)),
        _checkerboard(_equalised(frames["cine"]), _equalised(frames["lge_after"])),
        _equalised(frames["cine"]),
    )
    for place, (name, image) in enumerate(zip(ROWS, images, strict=True)):
        bottom = 1 - (_TOP_INCHES + PANEL_INCHES * (place + 1)) / height
        axes = figure.add_axes((_LEFT_INCHES / width, bottom, 1 - _LEFT_INCHES / width, PANEL_INCHES / height))
        axes.imshow(_mosaic(image), cmap="gray", vmin=0, vmax=1, interpolation="bilinear", aspect="auto")
        axes.set_axis_off()
        axes.text(-0.08 / (width - _LEFT_INCHES), 0.5, name, transform=axes.transAxes, rotation=90, fontsize=8,
                  color=TEXT_COLOUR, ha="right", va="center")  # fmt: skip
        if place == 0:
            contour(axes, _mosaic(before), SCAR_COLOUR, "solid", 1.0)
            _titles(axes, patient)
        elif place in (1, 2):
            _outlines(axes, frames["cine_labels"], cine=True)
            _outlines(axes, frames["lge_labels_before" if place == 1 else "lge_labels_after"], cine=False)
        elif place == 4:
            _outlines(axes, frames["cine_labels"], cine=True)
            _fill(axes, after)
    return figure


def scar_mask(lge: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the mask (S, H, W) of myocardium pixels that `jointnet.scar` marks as scar.

    The mask is empty where scar cannot be determined, such as without myocardium.

    Args:
        lge: grey values of a patient's slices (S, H, W), any unit.
        labels: their label values (S, H, W).
    """
    try:
        return find_scar(lge.astype(np.float32), labels, SPACING_MM, SCAR_SETTINGS)
    except DataError:
        return np.zeros(labels.shape, bool)


def scar_fraction(mask: np.ndarray, labels: np.ndarray) -> float:
    """Return the fraction of the myocardium that is scar, from 0 to 1; NaN where there is no myocardium."""
    muscle = int((labels == CLASS_INDEX["myo"]).sum())
    return float((mask & (labels == CLASS_INDEX["myo"])).sum()) / muscle if muscle else math.nan


def _ratios(rows: pd.DataFrame) -> dict[str, float]:
    """Return the registration ratio of each patient that has all metrics that any patient has."""
    endpoints = measured_endpoints(rows)
    return {
        str(patient): registration_ratio(own)
        for patient, own in rows.groupby("patient")
        if measured_endpoints(own) == endpoints
    }


def _chosen(record: ArmRecord, rank: str, count: int, ratio: float, fold: int, patient: str) -> ChosenPatient:
    arrays, rows = record.overlays, record.rows
    assert rows is not None
    at = np.flatnonzero(arrays["patients"] == patient)
    at = at[np.argsort(arrays["slices"][at], kind="stable")]
    numbers = tuple(int(number) for number in arrays["slices"][at])
    own = of_metric(rows[rows["patient"] == patient], "cd_mm", "lv")
    if "seed_index" in own:  # the pictures are those of the first seed's model
        own = own[own["seed_index"] == own["seed_index"].min()]
    pairs = zip(own["slice"], own[["before", "after"]].to_numpy(dtype=float), strict=True)
    distances = {int(number): (float(pair[0]), float(pair[1])) for number, pair in pairs}
    return ChosenPatient(
        arm=record.arm,
        fold=fold,
        patient=patient,
        rank=rank,
        of=count,
        ratio=ratio,
        slices=numbers,
        lv_cd_mm=distances,
        frames={name: np.asarray(arrays[name])[at] for name in FRAMES},
        whole=set(rows.loc[rows["patient"] == patient, "slice"]) <= set(numbers),
    )


def _picture(one: ChosenPatient) -> Picture:
    where = f", fold {one.fold}" if one.fold > 1 else ""
    labels = one.frames["lge_labels_before"]
    share = scar_fraction(scar_mask(one.frames["lge_before"], labels), labels)
    note = f"Patient {one.patient}{where}: {one.rank} of {one.of}, registration ratio {one.ratio:.3f}. "
    note += f"Drawn as scar: {share:.0%} of the myocardium in LGE.".replace("%", " %")
    if not one.whole:
        note += " Pictures of the other slices were not stored."
    alt = (
        f"{len(one.slices)} slices of patient {one.patient} ({one.rank} of {one.arm}): LGE with its scar, cine with "
        "the contours of cine and LGE unregistered and registered, a checkerboard of cine and registered LGE, and the "
        "registered scar on cine."
    )
    title = f"{one.rank.capitalize()} patient"
    return Picture(f"patient-{one.arm}-{one.rank}", title, alt, note, lambda _: draw_patient(one), photo=True)


def _mosaic(frames: np.ndarray) -> np.ndarray:
    """Join slices of shape (S, H, W) side by side into one image of shape (H, S * (W + gap))."""
    spaced = np.pad(frames, ((0, 0), (0, 0), (0, _GAP_PX)))
    return np.concatenate(list(spaced), axis=1)


def _equalised(frames: np.ndarray) -> np.ndarray:
    """Scale a patient's grey values to 0..1 and clip the brightest and the darkest 0.5 %."""
    values = frames.astype(np.float32)
    low, high = np.percentile(values, (0.5, 99.5))
    return np.clip((values - low) / max(float(high - low), 1e-6), 0, 1)


def _checkerboard(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Combine two image stacks of shape (S, H, W) into a checkerboard of alternating fields."""
    height, width = first.shape[-2:]
    rows, columns = np.arange(height) * CHECKS // height, np.arange(width) * CHECKS // width
    return np.where((rows[:, None] + columns[None, :]) % 2 == 0, first, second)


def _outlines(axes: Axes, labels: np.ndarray, cine: bool) -> None:
    for structure, colour in CONTOUR_COLOURS.items():
        region = _mosaic(outline(labels, structure))
        if cine:
            contour(axes, region, CINE_COLOUR, "dashed", 0.8)
        else:
            contour(axes, region, colour, "solid", 1.4)


def _fill(axes: Axes, region: np.ndarray) -> None:
    colour = np.zeros((*_mosaic(region).shape, 4), np.float32)
    colour[..., :3] = [int(SCAR_COLOUR[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    colour[..., 3] = 0.75 * _mosaic(region)
    axes.imshow(colour, interpolation="nearest", aspect="auto")


def _titles(axes: Axes, patient: ChosenPatient) -> None:
    """Draw the number of each slice above it, with LV CD before and after registration where it was measured."""
    side = patient.frames["cine"].shape[-1]
    for place, number in enumerate(patient.slices):
        pair = patient.lv_cd_mm.get(number)
        text = f"slice {number}" + (f"\nCD {pair[0]:.1f} \u2192 {pair[1]:.1f} mm" if pair else "\nno LV in both")
        axes.text(
            place * (side + _GAP_PX) + side / 2, -4, text, fontsize=7, color=TEXT_COLOUR, ha="center", va="bottom"
        )
