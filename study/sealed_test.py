"""The opening of the sealed test patients: after the selection of every arm is recorded, never before."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from jointnet.aggregation import named_metrics, patient_means, summarise
from jointnet.atomic_file import write_whole
from jointnet.cache import CachedPatient, fingerprint, prepare
from jointnet.checkpoint import load_model
from jointnet.evaluation import evaluate
from jointnet.folder import PatientFiles
from jointnet.geometry import warp, warp_labels
from jointnet.prediction import predict
from jointnet.structures import CODE


@dataclass(frozen=True)
class TestedArm:
    """What the test patients gave for an arm: their fingerprint, and the metrics of its model on them."""

    fingerprint: str
    metrics: dict[str, float]


def open_test(
    files: Sequence[PatientFiles], cache: Path, models: Mapping[Path, Path], device: str
) -> dict[Path, TestedArm]:
    """Prepare the test patients and evaluate selected models on them.

    Args:
        files: the test patients' files; they are read here for the first time.
        cache: folder of prepared patients.
        models: by the folder that receives `slices.csv`, `patients.csv` and `overlays.npz`; their selections are
            recorded already.
        device: where the models compute; the driver's CPU where the driver has no such device.
    """
    device = device_here(device)
    patients = prepare(files, cache)
    tested = {}
    for folder, path in models.items():
        model = load_model(path, device).model
        rows = evaluate(model, patients, device)
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / "slices.csv", rows.to_csv(index=False).encode())
        write_whole(folder / "patients.csv", patient_means(rows).reset_index().to_csv(index=False).encode())
        packed = io.BytesIO()
        np.savez_compressed(packed, **overlays(model, patients, device))  # type: ignore[arg-type]
        write_whole(folder / "overlays.npz", packed.getvalue())
        tested[folder] = TestedArm(fingerprint(patients), test_metrics(rows))
    return tested


def device_here(device: str) -> str:
    """Give the trials' device, or the CPU where this machine, the driver's, has none: trials run on other nodes."""
    return device if device == "cpu" or torch.cuda.is_available() else "cpu"


def test_metrics(rows: pd.DataFrame) -> dict[str, float]:
    """Give `test/metric/structure` after registration, `test/before/...` before it, the ratio and the lost ones."""
    before = summarise(rows)["before_mean"].dropna().reset_index()
    names = "test/before/" + before["metric"] + "/" + before["structure"]
    return named_metrics(rows, "test") | dict(zip(names, before["before_mean"].astype(float), strict=True))


def overlays(model: nn.Module, patients: Sequence[CachedPatient], device: str) -> dict[str, NDArray[np.generic]]:
    """Give one slice of each patient, the middle one of those with all structures in both labels, before and after."""
    parts: dict[str, list[NDArray[np.generic]]] = {}
    numbers, slices = [], []
    for patient in patients:
        labels = np.asarray(patient.labels())
        index = middle_slice(labels)
        cine, lge = np.asarray(patient.images()[index], dtype=np.float32)
        theta = predict(model, patient.images(), device).theta[index : index + 1]
        moved = warp(torch.from_numpy(lge.copy())[None, None], torch.from_numpy(np.asarray(theta, dtype=np.float32)))
        numbers.append(patient.patient)
        slices.append(index)
        for name, array in {
            "cine": cine.astype(np.float16),
            "cine_labels": labels[index, 0],
            "lge_before": lge.astype(np.float16),
            "lge_after": moved[0, 0].numpy().astype(np.float16),
            "lge_labels_before": labels[index, 1],
            "lge_labels_after": warp_labels(labels[index, 1][None], theta)[0],
        }.items():
            parts.setdefault(name, []).append(array)
    stacked = {name: np.stack(arrays) for name, arrays in parts.items()}
    return {"patients": np.array(numbers), "slices": np.array(slices), **stacked}


def middle_slice(labels: NDArray[np.uint8]) -> int:
    """Give the middle one of the slices (S, 2, H, W) that hold all structures in both labels, or of all slices."""
    full = [
        index
        for index, pair in enumerate(labels)
        if all((image == code).any() for image in pair for code in CODE.values())
    ]
    return full[len(full) // 2] if full else len(labels) // 2
