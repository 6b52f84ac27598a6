"""Error of the scar's amount on phantom patients, whose scar is known: where it comes from, and how far it moves.

python benchmarks/accuracy/scar.py [--patients 12] [--draws 10] [--out FILE.csv]

On the common grid, against the true scar within LGE's true myocardium:

- `LGE's own labels`: true labels, true registration; what is left is the method's own error.
- `cine's labels, oracle`: as in use, LGE moved by the best affine per slice that is found on its manual labels.
- `cine's labels, unregistered`: LGE left where it is.
- `oracle, off by X mm`: the oracle's LGE displaced per slice by a normal error of X mm along each axis.

Bias, mean and median absolute error are over patients, in ml and in percent points of the myocardium. Dice is over
patients with scar; patients without scar count in all other columns. The spread is the standard deviation over draws,
averaged over patients.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from jointnet.common_grid import PIXEL_MM, SLICE_MM
from jointnet.data.folder import find_patients
from jointnet.evaluate.oracle import oracle
from jointnet.geometry import warp, warp_labels
from jointnet.phantom.patient import true_scar
from jointnet.phantom.writer import write_phantom
from jointnet.preparation.grid import common_grid, sample
from jointnet.preparation.patient_files import PatientFiles
from jointnet.preparation.prepared_patient import read_image, read_label
from jointnet.scar import METHODS, ScarSettings
from jointnet.scar.measurements import measure, wall_of
from jointnet.scar.perturbation import perturbed_figures
from jointnet.scar.threshold import find_scar
from jointnet.structures import CLASS_INDEX

SPACING_MM = (SLICE_MM, PIXEL_MM, PIXEL_MM)
ERRORS_MM = (0.6, 1.5, 3.0)
"""Standard deviations of the error along an axis. The mean centre distances are about 0.8, 1.9 and 3.8 mm."""
SEED = 0


class Case(NamedTuple):
    """An LGE image on the common grid, the labels for the measurement, and the true scar in this image."""

    lge: NDArray[np.float32]
    labels: NDArray[np.uint8]
    truth: NDArray[np.bool_]


def cases_of(files: PatientFiles) -> dict[str, Case]:
    """Return the cases of a phantom patient on the common grid, with LGE as acquired and as moved by the oracle."""
    errors: list[str] = []
    cine, lge = read_image(files.cine, errors), read_image(files.lge, errors)
    labels = [None if path is None else read_label(path, errors) for path in (files.cine_label, files.lge_label)]
    grid = cine and lge and common_grid(cine[1], lge[1])
    if cine is None or lge is None or grid is None or labels[0] is None or labels[1] is None:
        raise RuntimeError(f"patient {files.patient}: must have readable, overlapping scans and labels, got {errors}")
    scar = true_scar(SEED, int(files.patient)).astype(np.uint8)
    (cine_labels,), _ = sample([(labels[0], 0)], cine[1], grid)
    (moving, lge_labels, scar), inside = sample([(lge[0], 1), (labels[1], 0), (scar, 0)], lge[1], grid)
    theta = oracle(np.stack([cine_labels, lge_labels], 1)).theta
    still = np.where(inside, moving, np.nan).astype(np.float32)
    moved, reached = (
        warp(torch.from_numpy(each.astype(np.float32))[:, None], torch.from_numpy(theta))[:, 0].numpy()
        for each in (moving, inside)
    )
    return {
        "LGE's own labels": Case(still, lge_labels, scar > 0),
        "cine's labels, oracle": Case(
            np.where(reached > 0.999, moved, np.nan).astype(np.float32), cine_labels, warp_labels(scar, theta) > 0
        ),
        "cine's labels, unregistered": Case(still, cine_labels, scar > 0),
    }


def rows_of(files: PatientFiles, settings: ScarSettings, cases: dict[str, Case], draws: int) -> list[dict[str, object]]:
    """Return one row per case: errors in ml and percent points, Dice and spread."""
    own = cases["LGE's own labels"]
    true = measure(
        own.truth & (own.labels == CLASS_INDEX["myo"]), np.ones(own.labels.shape, bool), wall_of(own.labels, SPACING_MM)
    )
    common: dict[str, object] = {"patient": files.patient, "method": settings.method}
    rows = []
    for name, case in cases.items():
        scar = find_scar(case.lge, case.labels, SPACING_MM, settings)
        found = measure(scar, np.isfinite(case.lge), wall_of(case.labels, SPACING_MM))
        visible = case.truth & (case.labels == CLASS_INDEX["myo"]) & np.isfinite(case.lge)
        both = scar.sum() + visible.sum()
        dice = 2 * (scar & visible).sum() / both if true["scar_ml"] > 0 and both else np.nan
        errors = {key: float(found[f"scar_{key}"] - true[f"scar_{key}"]) for key in ("ml", "percent")}
        rows.append({**common, "case": name, **errors, "dice": dice, "spread": np.nan})
    case = cases["cine's labels, oracle"]
    for sd_mm in ERRORS_MM:
        moved = perturbed_figures(case.lge, case.labels, SPACING_MM, settings, sd_mm, draws, SEED)
        common |= {"case": f"oracle, off by {sd_mm:g} mm", "spread": float(moved["scar_percent"].std(ddof=1))}
        for ml, percent in zip(moved["scar_ml"], moved["scar_percent"], strict=True):
            errors = {"ml": ml - float(true["scar_ml"]), "percent": percent - float(true["scar_percent"])}
            rows.append({**common, **errors, "dice": np.nan})
    return rows


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the bias, the absolute errors over patients (draws of a patient averaged first), Dice and spread."""
    rows = rows.assign(absolute_ml=rows["ml"].abs(), absolute_percent=rows["percent"].abs())
    by_patient = rows.groupby(["method", "case", "patient"], sort=False).mean(numeric_only=True)
    by_case = by_patient.groupby(level=["method", "case"], sort=False)
    means = by_case.mean().assign(median=by_case["absolute_percent"].median())
    names = {"ml": "bias ml", "absolute_ml": "|error| ml", "percent": "bias %", "absolute_percent": "|error| %"}
    names |= {"median": "median %", "dice": "Dice", "spread": "spread %"}
    return means.rename(columns=names)[list(names.values())]


def main() -> None:
    """Measure all cases with both methods and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--patients", type=int, default=12)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--out", type=Path, help="CSV that receives a row per patient, case and draw")
    options = parser.parse_args()
    folder = Path(f"data/phantom-{options.patients}-{SEED}").absolute()
    write_phantom(folder, patients=options.patients, seed=SEED)
    rows = []
    for files in find_patients(folder).values():
        cases = cases_of(files)
        for method in METHODS:
            rows += rows_of(files, ScarSettings(method), cases, options.draws)
    table = pd.DataFrame(rows)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(options.out, index=False)
    with_scar = table.loc[table["dice"].notna(), "patient"].nunique()
    print(f"{options.patients} patients, {with_scar} with scar, {options.draws} draws")
    print(summary(table).round(2).to_string())


if __name__ == "__main__":
    main()
