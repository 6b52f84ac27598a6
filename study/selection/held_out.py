"""The sealed test patients: the check of their files before the search, and the evaluation after the selection.

`study.selection` defines *sealed*; `study.selection.openings` decides when the patients are opened.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from jointnet.errors import DataError
from jointnet.evaluate.aggregation import named_metrics, patient_means, summarise
from jointnet.evaluate.metrics import DefinedMetrics, defined_metrics
from jointnet.evaluate.rows import cut_structure_rows, evaluate
from jointnet.model_file import load_model
from jointnet.preparation.cache import CachedPatient, fingerprint, in_parallel
from jointnet.preparation.patient_files import PatientFiles, check_headers
from jointnet.preparation.prepared_patient import prepare_patient, voxel_errors
from jointnet.system.atomic_file import write_whole
from study.selection.slice_pictures import slice_pictures


@dataclass(frozen=True)
class HeldOutResult:
    """The result of an arm: fingerprint of the test patients, and metrics of its models as means over seeds."""

    fingerprint: str
    metrics: dict[str, float]


def check_sealed(files: Sequence[PatientFiles]) -> tuple[dict[str, DefinedMetrics], list[str]]:
    """Check the format of the sealed patients' files and which structures they show, and nothing else.

    Errors in these files must be found before the search, not after it. No image or label is kept.

    Returns:
        What can be measured on each valid patient, by name, and the errors of the others.
    """
    measurable_on: dict[str, DefinedMetrics] = {}
    errors: list[str] = []
    for patient, checked in zip(files, in_parallel(_check, files), strict=True):
        if isinstance(checked, DataError):
            errors += checked.errors
        else:
            measurable_on[patient.patient] = checked
    return measurable_on, errors


def _check(files: PatientFiles) -> DefinedMetrics | DataError:
    if headers := check_headers([files]):
        return DataError([*headers, *voxel_errors(files, headers)])
    try:
        prepared = prepare_patient(files)
        return defined_metrics(prepared.labels, prepared.field)
    except DataError as error:
        return error


def evaluate_held_out(
    patients: Sequence[CachedPatient],
    models: Mapping[int | None, Path | None],
    folder: Path,
    device: str,
    allow_code: Sequence[str] = (),
) -> HeldOutResult:
    """Evaluate an arm's models on its test patients.

    Args:
        patients: the opened test patients, prepared; no training of the arm in this fold used them.
        models: model files by seed index, from 1, or the one tuned model under None. Their selection must be recorded
            already.
        folder: output folder. `slices.csv` has a column `seed_index` where there are seeds, `patients.csv` the means
            over slices and seeds, `overlays.npz` the pictures of the first model.
        device: device of the evaluation. The CPU is used where the driver does not have this device.
        allow_code: the user's own code that the study runs, see `jointnet.model_file.load_model`.
    """
    device = device_here(device)
    loaded = {seed: load_model(path, device, allow_code).model for seed, path in models.items() if path is not None}
    rows = seed_rows({seed: evaluate(model, patients, device) for seed, model in loaded.items()})
    write_rows(rows, folder)
    packed = io.BytesIO()
    pictures = slice_pictures(next(iter(loaded.values())), patients, device)
    np.savez_compressed(packed, **pictures)  # type: ignore[arg-type]
    write_whole(folder / "overlays.npz", packed.getvalue())
    return HeldOutResult(fingerprint(patients), held_out_metrics(rows, patients))


def write_rows(rows: pd.DataFrame, folder: Path) -> None:
    """Write the rows as `slices.csv`, and their means over slices and seeds as `patients.csv`, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "slices.csv", rows.to_csv(index=False).encode())
    write_whole(folder / "patients.csv", patient_means(rows).reset_index().to_csv(index=False).encode())


def seed_rows(rows_of: Mapping[int | None, pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of all models. Rows of a retraining have its seed index in the last column, `seed_index`."""
    parts = [rows if seed is None else rows.assign(seed_index=seed) for seed, rows in rows_of.items()]
    return pd.concat(parts, ignore_index=True)


def device_here(device: str) -> str:
    """Return the trials' device, or the CPU where the driver's machine has no GPU: trials may run on other nodes."""
    return device if device == "cpu" or torch.cuda.is_available() else "cpu"


def held_out_metrics(rows: pd.DataFrame, patients: Sequence[CachedPatient]) -> dict[str, float]:
    """Return the test metrics by name: `test/METRIC/STRUCTURE` after registration, `test/before/...` before it.

    The metrics of `jointnet.evaluate.aggregation.named_metrics` are included. `test/cut` is the number of structures of
    the patients that are left out because the common field cuts them.
    """
    before = summarise(rows)["before_mean"].dropna().reset_index()
    names = "test/before/" + before["metric"] + "/" + before["structure"]
    cut = {"test/cut": float(len(cut_structure_rows(patients)))}
    return named_metrics(rows, "test") | cut | dict(zip(names, before["before_mean"].astype(float), strict=True))
