"""The files of one heart's results: tables, scar mask, surfaces and figures."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from jointnet.scar.manual import ManualScar
from jointnet.scar.measurements import BY_SEGMENT, WHOLE, segment_table
from jointnet.scar.output.pictures import bullseye, scar_overlay, surface_picture
from jointnet.scar.output.surfaces import surfaces, write_stl, write_vtp
from jointnet.scar.pair import Pair
from jointnet.scar.segments import NAMES, Array
from jointnet.scar.threshold import Mask

OUTPUTS: tuple[str, ...] = (
    *("scar.json", "segments.csv", "spread.csv", "scar.nii.gz", "overlay.png", "bullseye.png", "surfaces.png"),
    *(f"{name}.{kind}" for name in ("lv", "myo", "rv", "scar") for kind in ("stl", "vtp")),
)
"""All files that may be written. Files of an earlier run that are not written again are removed."""
PICTURE_DPI = 130
SIDES = ("seen from the lateral wall", "seen from the septum")


def write_tables(
    folder: Path,
    report: dict[str, Any],
    figures: dict[str, Array],
    manual: ManualScar | None,
    spread: pd.DataFrame | None,
) -> None:
    """Write `segments.csv`, `spread.csv` if there is a spread, and `scar.json`: the report with the figures."""
    table = segment_table(figures, NAMES)
    if manual is not None:
        drawn = segment_table(manual.figures, NAMES).drop(columns=["segment", "name"])
        table = table.join(drawn.add_prefix("manual_"))
    table.round(2).to_csv(folder / "segments.csv", index=False)
    if spread is not None:
        spread.round(3).to_csv(folder / "spread.csv", index=False)
    own = {
        "figures": {name: number(figures[name]) for name in WHOLE},
        "segments": {name: [number(value) for value in figures[name]] for name in BY_SEGMENT},
    }
    (folder / "scar.json").write_text(json.dumps(report | own, indent=1) + "\n", encoding="utf-8")


def write_volumes(folder: Path, pair: Pair, scar: Mask, figures: dict[str, Array]) -> None:
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


def number(value: Array | float) -> float | None:
    """Return a rounded number for JSON, None for NaN."""
    return round(float(value), 4) if np.isfinite(value) else None
