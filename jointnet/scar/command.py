"""What the command `jointnet.scar` does: read, detect, measure, and write tables, volumes, surfaces and figures."""

import argparse
import json
import shutil
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from matplotlib.figure import Figure

from jointnet.errors import DataError, SettingsError
from jointnet.scar import ScarSettings
from jointnet.scar.measurements import BY_SEGMENT, WHOLE, measure, segment_table, wall_of
from jointnet.scar.pair import Pair, read_pair
from jointnet.scar.perturbation import perturbed_figures, spread_table
from jointnet.scar.pictures import bullseye, scar_overlay, surface_picture
from jointnet.scar.segments import APICAL, BASAL, NAMES, Array, levels, septum_middles
from jointnet.scar.surfaces import surfaces, write_stl, write_vtp
from jointnet.scar.threshold import Mask, find_scar, remote_statistics
from jointnet.structures import CLASS_INDEX

OUTPUTS: tuple[str, ...] = (
    *("scar.json", "segments.csv", "spread.csv", "scar.nii.gz", "overlay.png", "bullseye.png", "surfaces.png"),
    *(f"{name}.{kind}" for name in ("lv", "myo", "rv", "scar") for kind in ("stl", "vtp")),
)
"""All files that the command may write. Files of an earlier run that are not written again are removed."""
PICTURE_DPI = 130
SIDES = ("seen from the lateral wall", "seen from the septum")


def quantify(options: argparse.Namespace) -> None:
    """Quantify the scar of one heart, write all results to `options.out` and print the measurements.

    Raises:
        SettingsError: with all invalid options.
        DataError: with all errors of the scans.
    """
    settings = _settings(options)
    pair = read_pair(options.lge, options.labels, options.cine)
    scar = find_scar(pair.lge, pair.labels, pair.spacing_mm, settings)
    figures = measure(scar, np.isfinite(pair.lge), wall_of(pair.labels, pair.spacing_mm))
    if not figures["myocardium_ml"] > 0:
        raise DataError(f"{options.lge}: must cover myocardium of {options.labels.name}, but covers none of it")
    out = options.out.absolute()
    if out.exists() and not out.is_dir():
        raise SettingsError(f"--out: must be a folder, but {options.out} is a file")
    out.parent.mkdir(parents=True, exist_ok=True)
    draft = out.with_name(f".{out.name}.{uuid.uuid4().hex}.part")
    draft.mkdir()
    try:
        notes = _notes(pair)
        described = _write_tables(draft, options, settings, pair, figures, notes)
        _write_volumes(draft, pair, scar, figures)
        out.mkdir(exist_ok=True)
        for name in OUTPUTS:
            if (draft / name).exists():
                (draft / name).replace(out / name)
            else:
                (out / name).unlink(missing_ok=True)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    print("\n".join([*described, *(f"note: {note}" for note in notes), f"{options.out}: tables, surfaces, pictures"]))


def _settings(options: argparse.Namespace) -> ScarSettings:
    """Return the settings from the options.

    Raises:
        SettingsError: with all invalid options.
    """
    errors: list[str] = []
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


def _write_tables(
    folder: Path,
    options: argparse.Namespace,
    settings: ScarSettings,
    pair: Pair,
    figures: dict[str, Array],
    notes: list[str],
) -> list[str]:
    """Write `segments.csv`, `spread.csv` and `scar.json`, and return the lines to print."""
    table = segment_table(figures, NAMES)
    table.round(2).to_csv(folder / "segments.csv", index=False)
    whole: dict[str, Any] = {name: _number(figures[name]) for name in WHOLE}
    lines = [f"{name:<16}{figures[name]:8.2f}" for name in WHOLE]
    report: dict[str, Any] = {
        "lge": str(options.lge),
        "labels": str(options.labels),
        "settings": asdict(settings),
        "figures": whole,
        "segments": {name: [_number(value) for value in figures[name]] for name in BY_SEGMENT},
        "notes": notes,
    }
    if options.registration_sd_mm is not None:
        perturbation = {
            "sd_mm": options.registration_sd_mm,
            "count": options.perturbations,
            "seed": options.seed,
        }
        moved = perturbed_figures(pair.lge, pair.labels, pair.spacing_mm, settings, **perturbation)
        spread = spread_table(figures, moved)
        spread.round(3).to_csv(folder / "spread.csv", index=False)
        report["perturbation"] = perturbation
        lines = [
            f"{row['figure']:<16}{row['value']:8.2f}   perturbed: {row['mean']:.2f} (SD {row['sd']:.2f}), "
            f"95 % {row['low']:.2f} to {row['high']:.2f}"
            for row in spread.head(len(WHOLE)).to_dict("records")
        ]
    (folder / "scar.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    return lines


def _write_volumes(folder: Path, pair: Pair, scar: Mask, figures: dict[str, Array]) -> None:
    """Write the scar mask, the surfaces and the figures."""
    image = nib.Nifti1Image(pair.view.to_file(scar).astype(np.uint8), pair.file_affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, folder / "scar.nii.gz")
    meshes = surfaces(pair.labels, scar, pair.affine)
    for name, mesh in meshes.items():
        write_stl(folder / f"{name}.stl", mesh)
        write_vtp(folder / f"{name}.vtp", mesh)
    percent, scar_ml = float(figures["scar_percent"]), float(figures["scar_ml"])
    title = f"Scar {scar_ml:.1f} ml, {percent:.1f} % of the myocardium"
    _save(bullseye(figures["percent"], f"Scar, % of each segment's myocardium\n{title}"), folder / "bullseye.png")
    drawn = pair.lge if pair.cine is None else pair.cine
    _save(scar_overlay(drawn, pair.labels, scar, title), folder / "overlay.png")
    towards_base, right = pair.affine[:3, 0], pair.affine[:3, 2]
    drawn_meshes = surfaces(pair.labels, scar, pair.affine, step=2)
    _save(surface_picture(drawn_meshes, right, towards_base, SIDES, title), folder / "surfaces.png")


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=PICTURE_DPI)


def _number(value: Array) -> float | None:
    """Return a rounded number for JSON, None for NaN."""
    return round(float(value), 4) if np.isfinite(value) else None
