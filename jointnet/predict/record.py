"""The provenance of a prediction as JSON. It contains digests and numbers, but no path, patient name or header text."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel as nib

from jointnet.model_file import SavedModel
from jointnet.patient_names import shareable_name
from jointnet.predict.back_projection import Registration
from jointnet.preparation.patient_files import PatientFiles
from jointnet.preparation.scan_file import volume_shape
from jointnet.settings import settings_to_dict
from jointnet.system.versions import commit, versions

FORMAT = 1
ROLES = ("cine", "lge", "cine_label", "lge_label")


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def model_content(saved: SavedModel, path: Path | None, address: str | None) -> dict[str, Any]:
    """Return a model's description: digest, settings and training patients.

    Args:
        saved: the model.
        path: its file; None for a registration without a trained model.
        address: its address in a tracking store, None for a local file.
    """
    if path is None:
        own = {table: settings_to_dict(saved.settings)[table] for table in ("model", "registration")}
        used = "no trained model: the images alone were registered"
        return {"used": used, "name": saved.settings.model.name, "settings": own}
    return {
        "sha256": file_digest(path),
        "address": address,
        "name": saved.settings.model.name,
        "epoch": saved.epoch,
        "patients": {role: [shareable_name(name) for name in names] for role, names in saved.patients.items()},
        "settings": settings_to_dict(saved.settings),
    }


def software_content() -> dict[str, Any]:
    """Return the commit of the code and the package versions."""
    return {"commit": commit(), "versions": versions()}


def without_values(arguments: Sequence[str], options: Sequence[str]) -> list[str]:
    """Return a command's arguments with `...` instead of values that may contain a patient's name.

    Args:
        arguments: the arguments of the command.
        options: options whose value is left out, e.g. `--cine`, a path.
    """

    def masked() -> Iterator[str]:
        hidden = False
        for argument in arguments:
            option, equals, _ = argument.partition("=")
            if hidden:
                yield "..."
            elif option in options and equals:
                yield f"{option}=..."
            else:
                yield argument
            hidden = not hidden and argument in options

    return list(masked())


def record_bytes(
    command: Sequence[str],
    model: Mapping[str, Any],
    software: Mapping[str, Any],
    files: PatientFiles,
    pair: Registration,
    warnings: Sequence[str],
    written: Mapping[str, bytes],
    further: Mapping[str, Path],
) -> bytes:
    """Return the content of a pair's provenance file.

    Args:
        command: the command line without paths.
        model: the result of `model_content`.
        software: the result of `software_content`.
        files: the input files.
        pair: the registration, which defines the covered slices.
        warnings: the pair's warnings.
        written: content of the other output files by name.
        further: further input files by role.
    """
    inputs = {role: getattr(files, role) for role in ROLES} | dict(further)
    covered = [number for number, match in enumerate(pair.cine_matches) if match is not None]
    content = {
        "format": FORMAT,
        "command": list(command),
        "software": software,
        "model": model,
        "inputs": {
            role: _input(path) | ({} if role != "cine" or files.cine_frame is None else {"frame": files.cine_frame})
            for role, path in inputs.items()
            if path is not None
        },
        "coverage": {
            "cine_slices": len(pair.cine_matches),
            "covered": covered,
            "not_covered": [number for number in range(len(pair.cine_matches)) if number not in covered],
            "rule": "slices that are not covered lie outside the region of both scans and are 0 in every output",
            "lge_slices": len(pair.lge_matches),
            "lge_covered": [number for number, match in enumerate(pair.lge_matches) if match is not None],
            "common_grid_slices": pair.grid.slices,
            "common_grid_affine_ras": pair.grid.affine.tolist(),
        },
        "warnings": list(warnings),
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in sorted(written.items())},
    }
    return (json.dumps(content, indent=1, allow_nan=False) + "\n").encode()


def _input(path: Path) -> dict[str, Any]:
    image = nib.load(path)
    return {
        "sha256": file_digest(path),
        "shape": list(volume_shape(image.shape)),
        "spacing_mm": [round(float(length), 5) for length in image.header.get_zooms()[:3]],
    }
