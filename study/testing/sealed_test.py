"""The sealed test patients: their files are checked at the start, and opened after the selection of every arm."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from jointnet.aggregation import named_metrics, patient_means, summarise
from jointnet.atomic_file import write_whole
from jointnet.checkpoint import load_model
from jointnet.evaluation import evaluate
from jointnet.faults import DataFaultError
from jointnet.measurable import Measurable, measurable
from jointnet.scans.cache import CachedPatient, fingerprint, prepare, several_at_once
from jointnet.scans.folder import PatientFiles, check_headers
from jointnet.scans.preparation import prepare_patient, voxel_faults
from study.testing.slice_pictures import slice_pictures


@dataclass(frozen=True)
class TestedArm:
    """What the test patients gave for an arm: their fingerprint, and the metrics of its models, means over seeds."""

    fingerprint: str
    metrics: dict[str, float]


def check_sealed(files: Sequence[PatientFiles]) -> tuple[dict[int, Measurable], list[str]]:
    """Read the files of sealed patients for their format and for which structures they show, and for nothing else.

    A fault in them must not surface after a night of search. Nothing that is read is kept.

    Returns:
        What can be measured on each patient without fault, by number, and the faults of the others.
    """
    found: dict[int, Measurable] = {}
    faults: list[str] = []
    for patient, outcome in zip(files, several_at_once(_checked, files), strict=True):
        if isinstance(outcome, DataFaultError):
            faults += outcome.faults
        else:
            found[patient.patient] = outcome
    return found, faults


def _checked(files: PatientFiles) -> Measurable | DataFaultError:
    if headers := check_headers([files]):
        return DataFaultError([*headers, *voxel_faults(files, headers)])
    try:
        return measurable(prepare_patient(files)[1])
    except DataFaultError as error:
        return error


def unseal(files: Sequence[PatientFiles], cache: Path) -> list[CachedPatient]:
    """Read the test patients of a fold, which no training of its arms was given, and prepare them."""
    return prepare(files, cache)


def open_test(
    patients: Sequence[CachedPatient], models: Mapping[int | None, Path | None], folder: Path, device: str
) -> TestedArm:
    """Evaluate an arm's models on its test patients.

    Args:
        patients: the test patients.
        models: files by the index of their seed from 1, or the one tuned model by None; their selection is recorded
            already.
        folder: receives `slices.csv`, with a column `seed_index` where there are seeds, `patients.csv`, the means over
            slices and seeds, and `overlays.npz`, which shows the first model.
        device: where the models compute; the driver's CPU where the driver has no such device.
    """
    device = device_here(device)
    loaded = {seed: load_model(path, device).model for seed, path in models.items() if path is not None}
    rows = seed_rows({seed: evaluate(model, patients, device) for seed, model in loaded.items()})
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / "slices.csv", rows.to_csv(index=False).encode())
    write_whole(folder / "patients.csv", patient_means(rows).reset_index().to_csv(index=False).encode())
    packed = io.BytesIO()
    drawn = slice_pictures(next(iter(loaded.values())), patients, device)
    np.savez_compressed(packed, **drawn)  # type: ignore[arg-type]
    write_whole(folder / "overlays.npz", packed.getvalue())
    return TestedArm(fingerprint(patients), test_metrics(rows))


def seed_rows(rows_of: Mapping[int | None, pd.DataFrame]) -> pd.DataFrame:
    """Give the rows of all models, those of a seed with its index in the last column, `seed_index`."""
    parts = [rows if seed is None else rows.assign(seed_index=seed) for seed, rows in rows_of.items()]
    return pd.concat(parts, ignore_index=True)


def device_here(device: str) -> str:
    """Give the trials' device, or the CPU where this machine, the driver's, has none: trials run on other nodes."""
    return device if device == "cpu" or torch.cuda.is_available() else "cpu"


def test_metrics(rows: pd.DataFrame) -> dict[str, float]:
    """Give `test/metric/structure` after registration, `test/before/...` before it, the ratio and the lost ones."""
    before = summarise(rows)["before_mean"].dropna().reset_index()
    names = "test/before/" + before["metric"] + "/" + before["structure"]
    return named_metrics(rows, "test") | dict(zip(names, before["before_mean"].astype(float), strict=True))
