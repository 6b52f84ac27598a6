"""Export of a model as a MONAI bundle, a folder that MONAI's tools can describe, check and run.

The network is defined in this package, so the bundle needs this package to run. The bundle's configuration refers to
its functions by name (`_target_`). This module does not import MONAI. Layout and keys follow the "MONAI Bundle
Specification".
"""

import importlib.metadata
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from jointnet.common_grid import SIZE_PX
from jointnet.model_file import SavedModel, load_model
from jointnet.models import model_of
from jointnet.own_code import code_of, is_reference
from jointnet.patient_names import shareable_name
from jointnet.preparation.prepared_patient import CEILING
from jointnet.settings import settings_to_dict
from jointnet.structures import CLASS_INDEX, STRUCTURE_DESCRIPTIONS
from jointnet.system.atomic_file import make_folder_once
from jointnet.system.versions import commit, versions

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
"""Address of the schema against which MONAI checks `metadata.json`."""
BUNDLE_VERSION = "1.0.0"
MONAI_VERSION = "1.6.1"
"""Version of MONAI with which the tests run a bundle."""
PACKAGE = "jointnet-study"
REQUIRED = ("nibabel", "scipy", "pandas", "matplotlib", "contourpy")
LIMITS = "Research software, not a medical device: not to be used for diagnosis or treatment."


def write_bundle(
    model: Path, folder: Path, authors: str, copyright_line: str, allow_code: Sequence[str] = ()
) -> SavedModel:
    """Write the bundle of a model file to a folder that is absent or empty, and return the model.

    The bundle is written to a temporary folder beside `folder`, which is renamed when it is complete.
    """
    saved = load_model(model, allow_code=allow_code)
    files = bundle_files(saved, folder.name, authors, copyright_line)

    def fill(draft: Path) -> None:
        for name, content in files.items():
            path = draft / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)

    folder.parent.mkdir(parents=True, exist_ok=True)
    make_folder_once(folder, fill, folder.with_name(f".{folder.name}.lock"), is_there=lambda: False)
    return saved


def bundle_files(saved: SavedModel, name: str, authors: str, copyright_line: str) -> dict[str, bytes]:
    """Return a bundle's files by their path within the bundle.

    Args:
        saved: the model.
        name: the bundle's name.
        authors: the model's authors.
        copyright_line: the model's copyright line.
    """
    weights = io.BytesIO()
    torch.save({key: tensor.detach().cpu().contiguous() for key, tensor in saved.model.state_dict().items()}, weights)
    return {
        "configs/metadata.json": _json(metadata_content(saved, name, authors, copyright_line)),
        "configs/inference.json": _json(inference_content(saved)),
        "models/model.pt": weights.getvalue(),
        "docs/README.md": readme_text(saved, name).encode(),
        "LICENSE": license_text().encode(),
    }


def metadata_content(saved: SavedModel, name: str, authors: str, copyright_line: str) -> dict[str, Any]:
    """Return the content of `metadata.json`: the model and its tensors as MONAI's schema requires.

    Args:
        saved: the model.
        name: the bundle's name.
        authors: the model's authors.
        copyright_line: the model's copyright line.
    """
    segments = model_of(saved.settings.model.name).segments
    side = SIZE_PX // saved.settings.training.downsampling
    seen = 1 + 2 * saved.settings.model.neighbours
    channels = {str(number): _neighbour(number - saved.settings.model.neighbours) for number in range(seen)}
    classes = {"0": "background"} | {
        str(index): STRUCTURE_DESCRIPTIONS[name]
        + ("" if name in saved.settings.model.structures else ", never predicted")
        for name, index in sorted(CLASS_INDEX.items(), key=lambda item: item[1])
    }
    images = {role: _tensor("image", "magnitude", seen, side, [0, CEILING], channels) for role in ("cine", "lge")}
    scores = {f"{role}_logits": _tensor("image", "labels", len(classes), side, [], classes) for role in ("cine", "lge")}
    labels = {
        f"{role}_labels": _tensor("image", "segmentation", 1, SIZE_PX, [0, len(classes) - 1], classes, "uint8")
        for role in ("cine", "lge")
    }
    theta = {
        **_tensor("tuples", "affine", 2, 3, [], {"0": "x of the point in LGE", "1": "y of the point in LGE"}),
        "spatial_shape": [3],
    }
    return {
        "schema": SCHEMA,
        "version": BUNDLE_VERSION,
        "changelog": {BUNDLE_VERSION: "exported by jointnet.export_bundle"},
        "monai_version": MONAI_VERSION,
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": versions((*REQUIRED, PACKAGE)),
        "commit": commit(),
        "name": name,
        "task": "Registration of LGE onto cine cardiac MRI" + (", and segmentation of both" if segments else ""),
        "description": f"For each short-axis slice a {saved.settings.model.name} network predicts theta, the 2 x 3 "
        "affine from cine to LGE coordinates, normalised as in torch's affine_grid with align_corners=False"
        + (", and segments both images." if segments else "."),
        "authors": authors,
        "copyright": copyright_line,
        "data_type": "nibabel",
        "image_classes": "one short-axis slice of cine and LGE each on a common grid, with its neighbours as channels",
        "pred_classes": "; ".join(f"{number} {word}" for number, word in classes.items()) if segments else "none",
        "intended_use": LIMITS,
        "references": ["Upendra, Simon and Linte, Proc. SPIE 11598, 2021"],
        "network_data_format": {
            "inputs": images,
            "outputs": {"theta": theta} | (scores if segments else {}),
            "post_processed_outputs": {"theta": theta} | (labels if segments else {}),
        },
    }


def inference_content(saved: SavedModel) -> dict[str, Any]:
    """Return the configuration that registers a pair of scans and writes the same files as `jointnet.predict`.

    `cine`, `lge` and `output_dir` are set on MONAI's command line. `prediction` contains only theta and the labels.

    Args:
        saved: the model.
    """
    patients = {role: [shareable_name(name) for name in names] for role, names in saved.patients.items()}
    name = saved.settings.model.name
    return {
        "imports": [
            "$import pathlib",
            "$import torch",
            "$import jointnet.predict.output_files as output_files",
            "$import jointnet.predict.record as prediction_record",
        ],
        "bundle_root": ".",
        "cine": "$@bundle_root + '/data/C0.nii.gz'",
        "lge": "$@bundle_root + '/data/LGE.nii.gz'",
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "model_path": "$pathlib.Path(@bundle_root) / 'models' / 'model.pt'",
        "model_settings": settings_to_dict(saved.settings),
        "allow_code": [],
        "settings": {
            "_target_": "jointnet.model_file.stored_settings",
            "stored": "@model_settings",
            "allow_code": "@allow_code",
            "digest": code_of(name).digest if is_reference(name) else None,
        },
        "network_def": {"_target_": "jointnet.networks.build_model", "settings": "@settings"},
        "weights": "$torch.load(@model_path, map_location='cpu', weights_only=True)",
        "network": "$(@network_def.load_state_dict(@weights), @network_def.to(@device).eval())[1]",
        "scans": {
            "_target_": "jointnet.data.folder.PatientFiles",
            "patient": "0",
            "cine": "$pathlib.Path(@cine)",
            "lge": "$pathlib.Path(@lge)",
        },
        "preprocessing": {"_target_": "jointnet.preparation.prepared_patient.prepare_patient", "files": "@scans"},
        "prediction": {
            "_target_": "jointnet.networks.apply.predict",
            "model": "@network",
            "images": "$@preprocessing[0]",
            "field": "$@preprocessing[2]",
            "device": "@device",
        },
        "trained_on": patients,
        "saved": {
            "_target_": "jointnet.model_file.SavedModel",
            "model": "@network",
            "settings": "@settings",
            "patients": "$dict(@trained_on)",
            "epoch": saved.epoch,
        },
        "results": {
            "_target_": "jointnet.predict.pair.predict_pair",
            "saved": "@saved",
            "files": "@scans",
            "device": "@device",
        },
        "record": {
            "_target_": "jointnet.predict.record.record_bytes",
            "command": ["python", "-m", "monai.bundle", "run"],
            "model": "$prediction_record.model_content(@saved, @model_path, None)",
            "software": "$prediction_record.software_content()",
            "files": "@scans",
            "pair": "$@results.registration",
            "warnings": "$@results.warnings",
            "written": "$@results.files",
            "further": {},
        },
        "run": ["$output_files.write_results(pathlib.Path(@output_dir), @results.files, @record)"],
    }


def readme_text(saved: SavedModel, name: str) -> str:
    """Return the bundle's README: what it is and how it is run.

    Args:
        saved: the model.
        name: the bundle's name.
    """
    seen = "; ".join(f"{role} {len(numbers)}" for role, numbers in saved.patients.items())
    return f"""# {name}

A {saved.settings.model.name} network that registers LGE onto cine cardiac MRI, slice by slice. {LIMITS}

Trained for {saved.epoch} epochs; number of patients: {seen}. State the training data and the performance when you
distribute it; `configs/inference.json` contains its settings.

With the package `{PACKAGE}` of the version in `configs/metadata.json` and MONAI installed, in this folder:

    python -m monai.bundle run --config_file configs/inference.json --cine C0.nii.gz --lge LGE.nii.gz --output_dir out

`out` then contains the files of `python -m jointnet.predict`: registered LGE, segmentations where the network segments,
transforms and a quality sheet. As with every bundle, a configuration is code: run it only if you trust its
origin. `models/model.pt` is a plain state dict and loads with `weights_only=True`.
"""


def license_text() -> str:
    """Return the licence of the code, with a note that it does not cover the weights."""
    checkout = Path(__file__).parents[2] / "LICENSE"
    if checkout.is_file():
        text = checkout.read_text(encoding="utf-8")
    else:
        text = importlib.metadata.distribution(PACKAGE).read_text("licenses/LICENSE") or ""
    return (
        "The code that builds and runs this network is under the licence below. The terms of the weights are set by\n"
        f"whoever trained them and by the terms of the data.\n\n{text}"
    )


def _tensor(
    kind: str,
    form: str,
    channels: int,
    side: int,
    values: list[float],
    names: Mapping[str, str],
    dtype: str = "float32",
) -> dict[str, Any]:
    return {
        "type": kind,
        "format": form,
        "modality": "MR",
        "num_channels": channels,
        "spatial_shape": [side, side],
        "dtype": dtype,
        "value_range": values,
        "is_patch_data": False,
        "channel_def": dict(names),
    }


def _neighbour(offset: int) -> str:
    return "the slice" if offset == 0 else f"the slice {abs(offset)} {'below' if offset < 0 else 'above'}"


def _json(content: Any) -> bytes:
    return (json.dumps(content, indent=4, allow_nan=False) + "\n").encode()
