"""What the command `jointnet.scar` does: read, detect, measure, and write tables, volumes, surfaces and figures.

A heart is a pair of files, or a patient of a folder. A patient's LGE is measured within LGE's manual segmentation, or,
with predictions, the registered LGE within the predicted segmentation of cine.
"""

import argparse
import shutil
import sys
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from jointnet.data.description import Dataset, load_dataset
from jointnet.data.folder import scan_folder, select
from jointnet.errors import DataError, SettingsError
from jointnet.patient_names import names_text, parse_patients, patient_folders
from jointnet.predict.output_files import CINE, CINE_LABELS, REGISTERED
from jointnet.preparation.labels import CHALLENGE_VALUES, LabelValues
from jointnet.scar import ScarSettings
from jointnet.scar.manual import errors_against, read_manual
from jointnet.scar.measurements import WHOLE, measure, wall_of
from jointnet.scar.output.files import OUTPUTS, number, write_tables, write_volumes
from jointnet.scar.pair import Pair, read_pair
from jointnet.scar.perturbation import perturbed_figures, spread_table
from jointnet.scar.segments import APICAL, BASAL, levels, septum_middles
from jointnet.scar.threshold import find_scar, remote_statistics
from jointnet.structures import CLASS_INDEX
from jointnet.system.atomic_file import write_whole

PATIENTS = "patients.csv"


class Heart(NamedTuple):
    """The files of a heart, and where its results go.

    Attributes:
        patient: the patient's name; None for a pair of files.
        lge: LGE on the grid of `labels`.
        labels: the segmentation that is measured within.
        out: the folder of the results.
        cine: background of the overlay.
        values: label values of `labels`.
        manual: file of LGE's manual segmentation with scar, if there is one.
        manual_values: its label values.
    """

    patient: str | None
    lge: Path
    labels: Path
    out: Path
    cine: Path | None = None
    values: LabelValues = CHALLENGE_VALUES
    manual: Path | None = None
    manual_values: LabelValues = CHALLENGE_VALUES


def quantify(options: argparse.Namespace) -> None:
    """Quantify the scar of one heart or of the patients of a folder, write all results and print the measurements.

    Raises:
        SettingsError: with all invalid options.
        DataError: with all errors of the scans, after all valid hearts were written.
    """
    settings = _settings(options)
    hearts, errors = _patients(options) if options.data is not None else ([_single(options)], [])
    if files := [path for path in (options.out, *(one.out for one in hearts)) if path.exists() and not path.is_dir()]:
        raise SettingsError(f"--out: must be a folder, but {files[0]} is a file")
    rows = []
    for heart in hearts:
        try:
            rows.append(_quantify_heart(heart, options, settings))
        except DataError as error:
            errors += error.errors
    if options.data is not None and rows:
        table = pd.DataFrame(rows)
        write_whole(options.out / PATIENTS, table.round(4).to_csv(index=False, lineterminator="\n").encode())
        print(_summary(table))
    if errors:
        raise DataError(errors)


def _single(options: argparse.Namespace) -> Heart:
    """Return the pair of files that the options name."""
    values = (
        Dataset("", {}) if options.dataset is None else load_dataset(options.lge.parent, options.dataset)
    ).lge_values
    manual = options.labels if values.scar else None
    return Heart(None, options.lge, options.labels, options.out, options.cine, values, manual, values)


def _patients(options: argparse.Namespace) -> tuple[list[Heart], list[str]]:
    """Return the patients of the folder that can be measured, and the errors in the names of its files."""
    chosen = parse_patients(options.patients) if options.patients is not None else None
    dataset = load_dataset(options.data, options.dataset)
    scans, errors = scan_folder(options.data, only=chosen, labels_needed=False, dataset=dataset)
    chosen_files = select(scans, scans if chosen is None else chosen, errors)
    folders = patient_folders(options.out, scans, errors)
    hearts, without = [], []
    for files in chosen_files:
        manual = files.lge_label if files.lge_values.scar else None
        if options.predicted is not None:
            (own,) = patient_folders(options.predicted, [files.patient]).values()
            heart = Heart(files.patient, own / REGISTERED, own / CINE_LABELS, folders[files.patient], own / CINE)
            hearts.append(heart._replace(manual=manual, manual_values=files.lge_values))
        elif files.lge_label is not None:
            paths = files.lge, files.lge_label, folders[files.patient]
            hearts.append(Heart(files.patient, *paths, None, files.lge_values, manual, files.lge_values))
        else:
            without.append(files.patient)
    rule = "must have a segmentation of LGE, or --predicted"
    if without and not hearts:
        raise DataError([*errors, f"{options.data}: patients to measure {rule}, got none for {names_text(without)}"])
    if without:
        print(f"warning: patients {names_text(without)} are not measured: each {rule}", file=sys.stderr, flush=True)
    return hearts, errors


def _quantify_heart(heart: Heart, options: argparse.Namespace, settings: ScarSettings) -> dict[str, Any]:
    """Quantify one heart, write its folder, print its measurements and return them as a row.

    Raises:
        DataError: with all errors of its files.
    """
    pair = read_pair(heart.lge, heart.labels, heart.cine, heart.values)
    manual = None if heart.manual is None else read_manual(heart.manual, heart.manual_values)
    scar = find_scar(pair.lge, pair.labels, pair.spacing_mm, settings)
    figures = measure(scar, np.isfinite(pair.lge), wall_of(pair.labels, pair.spacing_mm))
    if not figures["myocardium_ml"] > 0:
        raise DataError(f"{heart.lge}: must cover myocardium of {heart.labels.name}, but covers none of it")
    row = {name: float(figures[name]) for name in WHOLE}
    if manual is not None:
        errors = errors_against(manual, figures, scar if heart.manual == heart.labels else None)
        row |= {f"manual_{name}": float(manual.figures[name]) for name in WHOLE}
        row |= {name if name == "dice" else f"error_{name}": value for name, value in errors.items()}
    notes = _notes(pair)
    report = {"lge": str(heart.lge), "labels": str(heart.labels), "settings": asdict(settings), "notes": notes}
    if manual is not None:
        against = {name: number(value) for name, value in row.items() if name not in WHOLE}
        report["manual"] = {"labels": str(heart.manual), **against}
    spread = None
    if options.registration_sd_mm is not None:
        of_error = {"sd_mm": options.registration_sd_mm, "count": options.perturbations, "seed": options.seed}
        spread = spread_table(figures, perturbed_figures(pair.lge, pair.labels, pair.spacing_mm, settings, **of_error))
        report["perturbation"] = of_error
    out = heart.out.absolute()
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.{uuid.uuid4().hex}.part")
    draft.mkdir()
    try:
        write_tables(draft, report, figures, manual, spread)
        write_volumes(draft, pair, scar, figures)
        out.mkdir(exist_ok=True)
        for name in OUTPUTS:
            if (draft / name).exists():
                (draft / name).replace(out / name)
            else:
                (out / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    lines = [f"{heart.patient}: {_line(row)}"] if heart.patient is not None else _lines(row, spread, heart.out)
    print("\n".join([*lines, *(f"note: {note}" for note in notes)]), flush=True)
    return row if heart.patient is None else {"patient": heart.patient, **row}


def _lines(row: dict[str, Any], spread: pd.DataFrame | None, out: Path) -> list[str]:
    """Return a heart's measurements, a line for each, with the spread if there is one."""
    lines = [f"{name:<16}{row[name]:8.2f}" for name in WHOLE]
    if spread is not None:
        lines = [
            f"{line}   perturbed: {one['mean']:.2f} (SD {one['sd']:.2f}), 95 % {one['low']:.2f} to {one['high']:.2f}"
            for line, one in zip(lines, spread.to_dict("records"), strict=False)
        ]
    lines += [f"{'against manual':<16}{_line(row)}"] * ("manual_scar_ml" in row)
    return [*lines, f"{out}: tables, surfaces, pictures"]


def _line(row: dict[str, Any]) -> str:
    """Return a heart's amount of scar, and its error if there is manual scar."""
    text = f"scar {row['scar_ml']:.1f} ml, {row['scar_percent']:.1f} %"
    if "manual_scar_ml" not in row:
        return text
    dice = "" if np.isnan(row["dice"]) else f", Dice {row['dice']:.2f}"
    return f"{text}; manual {row['manual_scar_ml']:.1f} ml, {row['manual_scar_percent']:.1f} %{dice}"


def _summary(table: pd.DataFrame) -> str:
    """Return the mean error over the patients with manual scar, or the number of patients if there is none."""
    count = f"{len(table)} patient{'s' * (len(table) > 1)}"
    if "error_scar_percent" not in table:
        return f"{count} measured; none has manual scar"
    own = table[table["error_scar_percent"].notna()]
    bias = (own["scar_percent"] - own["manual_scar_percent"]).mean()
    ml, percent = own["error_scar_ml"].mean(), own["error_scar_percent"].mean()
    return (
        f"{count} measured; against manual scar in {len(own)}: mean absolute error {ml:.1f} ml, {percent:.1f} "
        f"percentage points (bias {bias:+.1f})"
    )


def _settings(options: argparse.Namespace) -> ScarSettings:
    """Return the settings from the options.

    Raises:
        SettingsError: with all invalid options.
    """
    errors: list[str] = []
    if options.data is None and options.labels is None:
        errors.append("--labels: must be given with --lge, got none")
    needed, names = ("--data", ("patients", "predicted")) if options.data is None else ("--lge", ("labels", "cine"))
    errors += [
        f"--{name}: must be given with {needed}, got {getattr(options, name)}"
        for name in names
        if getattr(options, name) is not None
    ]
    if options.registration_sd_mm is not None and not (
        np.isfinite(options.registration_sd_mm) and options.registration_sd_mm >= 0
    ):
        errors.append(f"--registration-sd-mm: must be a number of 0 or more, got {options.registration_sd_mm}")
    if options.perturbations < 1:
        errors.append(f"--perturbations: must be at least 1, got {options.perturbations}")
    if options.seed < 0:
        errors.append(f"--seed: must not be negative, got {options.seed}")
    try:
        settings = ScarSettings(options.method, options.n_sd, options.smallest_mm2, options.largest_core_mm2)
    except SettingsError as error:
        raise SettingsError([*error.errors, *errors]) from None
    if errors:
        raise SettingsError(errors)
    return settings


def _notes(pair: Pair) -> list[str]:
    """Return notes on this heart that matter for the interpretation of the results."""
    muscle = pair.labels == CLASS_INDEX["myo"]
    notes = []
    if not (pair.labels == CLASS_INDEX["lv"]).any():
        notes.append("no LV pool is labelled, so there are no segments")
    elif np.isnan(septum_middles(pair.labels, pair.spacing_mm)).all():
        notes.append("no RV is labelled beside the LV, so segments 1 to 16 are unknown")
    if hidden := int((muscle & np.isnan(pair.lge)).sum()):
        notes.append(
            f"LGE does not cover {100 * hidden / int(muscle.sum()):.1f} % of the myocardium, which is left out"
        )
    mean, _ = remote_statistics(pair.lge, pair.labels, pair.spacing_mm)
    if np.isnan(mean).all():
        notes.append("no slice has enough remote myocardium, so no scar can be detected")
    area, level = (pair.labels == CLASS_INDEX["lv"]).sum((1, 2)), levels(pair.labels)
    if all((level == third).any() for third in (APICAL, BASAL)) and (
        area[level == BASAL].mean() < area[level == APICAL].mean()
    ):
        notes.append("the LV narrows towards the base, according to the header: check the files' orientation")
    return notes
