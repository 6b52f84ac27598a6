"""Model files: weights, settings and patients' names, stored as plain tensors and values without code."""

import io
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from jointnet.errors import InputError, SettingsError
from jointnet.model_path import model_file
from jointnet.models import UNTRAINED
from jointnet.networks import build_model
from jointnet.own_code import allowed_reference, code_of, is_reference
from jointnet.patient_names import in_natural_order, names_text
from jointnet.settings import Settings, settings_from_dict, settings_to_dict
from jointnet.system.atomic_file import write_whole
from jointnet.system.toml_file import is_file

FORMAT = 5
EARLIER_FORMATS = (3, 4)
"""Formats that are still read: 3 is from before the table `registration` of the settings, 4 from before
`model.negative_slope`."""


@dataclass(frozen=True)
class SavedModel:
    """A model loaded from a file.

    Attributes:
        model: the network, ready for `jointnet.networks.apply.predict`.
        settings: the settings it was trained with.
        patients: names of patients by role: `training`, `validation` and, if a teacher was used, `teacher`.
        epoch: the epoch of the weights, from 1; 0 for a model that is not trained.
        path: the file; None for a model that is not trained.
    """

    model: nn.Module
    settings: Settings
    patients: dict[str, tuple[str, ...]]
    epoch: int
    path: Path | None = None

    def seen_patient_warnings(self, names: Iterable[str]) -> list[str]:
        """Return a warning for each role in which some of these patients took part in the training."""
        wanted = set(names)
        return [
            f"patients {names_text(seen)} were used for {role}; their metrics are not test results"
            for role, own in self.patients.items()
            if (seen := in_natural_order(set(own) & wanted))
        ]


def open_model(
    name: str | Path,
    device: str = "cpu",
    find: Callable[[str], Path] | None = None,
    allow_code: Sequence[str] = (),
) -> SavedModel:
    """Return the model that a value of `--model` names: one of `jointnet.models.UNTRAINED`, or a file.

    Args:
        name: the name, or the path of the file or of the folder that holds it.
        device: the device.
        find: returns the model file for a name that is not one of `UNTRAINED`; `jointnet.model_path.model_file` if
            None.
        allow_code: as in `load_model`.

    Raises:
        InputError: if the file is missing, damaged or of another format, or needs code that is not allowed.
    """
    if name in UNTRAINED:
        return untrained_model(str(name), device)
    return load_model(find(str(name)) if find else model_file(Path(name)), device, allow_code)


def untrained_model(name: str, device: str = "cpu") -> SavedModel:
    """Return a model of `jointnet.models.UNTRAINED` with the default settings. No patient took part in it."""
    settings = settings_from_dict({"model": {"name": name}})
    return SavedModel(build_model(settings).to(device).eval(), settings, {}, 0)


def save_model(
    path: Path, weights: Mapping[str, Tensor], settings: Settings, patients: Mapping[str, Sequence[str]], epoch: int
) -> None:
    """Write a model file atomically.

    Raises:
        OSError: if it cannot be written.
    """
    name = settings.model.name
    content = {
        "format": FORMAT,
        "weights": {name: tensor.detach().cpu() for name, tensor in weights.items()},
        "settings": settings_to_dict(settings),
        "patients": {role: list(names) for role, names in patients.items()},
        "epoch": epoch,
        **({"code": code_of(name).digest} if is_reference(name) else {}),
    }
    written = io.BytesIO()
    torch.save(content, written)
    write_whole(path, written.getvalue())


def load_model(path: Path, device: str = "cpu", allow_code: Sequence[str] = ()) -> SavedModel:
    """Read a model file.

    No code in the file is executed, and no more memory is allocated than the weights need.

    Args:
        path: the file.
        device: the device.
        allow_code: packages, modules and Python files outside `jointnet` whose code may be run, if the file names it
            as its network.

    Raises:
        InputError: if the file is missing, damaged or of another format, or needs code that is not allowed.
    """
    if not is_file(path):
        raise InputError(f"{path}: must be a model file written by `jointnet.train`; there is no such file")
    try:
        content: dict[str, Any] = read_torch(Path(path).read_bytes(), device)
        if content["format"] not in (*EARLIER_FORMATS, FORMAT):
            rule = f"must be a model file of format {', '.join(map(str, EARLIER_FORMATS))} or {FORMAT}"
            raise InputError(f"{path}: {rule}, got {content['format']!r}")
        try:
            stored = current_settings(content["settings"], content["format"])
            settings = stored_settings(stored, allow_code, content.get("code"))
        except InputError as error:
            raise InputError(f"{path}: {line}" for line in error.errors) from None
        _check_weights(content["weights"], settings)
        model = build_model(settings).to(device)
        model.load_state_dict(content["weights"])
        patients = {role: tuple(map(str, names)) for role, names in content["patients"].items()}  # or numbers
        return SavedModel(model.eval(), settings, patients, int(content["epoch"]), path)
    except InputError:
        raise
    except Exception as error:  # a damaged archive can raise any exception
        message = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: must be a model file written by `jointnet.train`: {message}") from None


def stored_settings(stored: Mapping[str, Any], allow_code: Sequence[str] = (), digest: str | None = None) -> Settings:
    """Return the settings of a file. Code outside `jointnet` that they name as the network is run only if allowed.

    Metrics of the user's own that are not allowed are left out.

    Args:
        stored: the settings as nested dictionaries.
        allow_code: as in `load_model`.
        digest: the digest of the code with which the model was trained.

    Raises:
        SettingsError: if the settings are invalid, or the code is not allowed or has changed.
    """
    name, training = stored["model"]["name"], stored.get("training", {})
    allowed = [allowed_reference(each, allow_code) for each in training.get("metrics", ())]
    stored = {**stored, "training": {**training, "metrics": [each for each in allowed if each is not None]}}
    if not is_reference(name):
        return settings_from_dict(stored)
    place = name.rpartition(":")[0]
    reference = allowed_reference(name, allow_code)
    if reference is None:
        raise SettingsError(
            f"its network is code outside jointnet, {name}, digest {digest}, which was not run; if you have that code "
            f"and trust it: --allow-code {'PATH/' + Path(place).name if place.endswith('.py') else place}"
        )
    if (found := code_of(reference).digest) != digest:
        raise SettingsError(
            f"{reference} must be the code that the model was trained with, digest {digest}, got {found}"
        )
    return settings_from_dict({**stored, "model": {**stored["model"], "name": reference}})


def current_settings(stored: Mapping[str, Any], file_format: int) -> Mapping[str, Any]:
    """Return the settings of a file with what later formats added, so that its predictions stay the same."""
    if file_format < 4:
        stored = with_registration(stored)
    if file_format < 5:
        stored = {**stored, "model": {**stored["model"], "negative_slope": 0.0}}
    return stored


def with_registration(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a file of format 3 with the table `registration`.

    Then only the guided head had these stages, and its settings were in the table `model`.
    """
    model = dict(settings["model"])
    by_patient, weight = model.pop("guide_by_patient"), model.pop("guide_descriptors")
    guided = model["name"] == "joint" and model["head"] == "guided"
    registration = {
        "pooling": "patient" if guided and by_patient else "independent",
        "refinement": "descriptors" if guided and weight > 0 else "none",
        **({"descriptor_weight": weight} if weight > 0 else {}),
    }
    return {**settings, "model": model, "registration": registration}


def read_torch(content: bytes, device: str = "cpu") -> Any:
    """Return the content of a `torch.save` archive. Only tensors and plain values are allowed (`weights_only`).

    Checksums are verified, because torch itself would not detect a flipped bit. No code is executed, and no more memory
    is used than the size of the file.

    Raises:
        ValueError: if it is not such an archive, or is damaged.
        Exception: any exception of `torch.load`.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise ValueError("its members must be stored, not compressed")
            if sum(member.file_size for member in members) > len(content):
                raise ValueError("its members claim to be larger than the file")
            if (damaged := archive.testzip()) is not None:
                raise ValueError(f"{damaged} is damaged")
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError) as error:
        raise ValueError(str(error)) from None
    return torch.load(io.BytesIO(content), map_location=device, weights_only=True)


def _check_weights(weights: Mapping[str, Tensor], settings: Settings) -> None:
    """Check names, shapes and types of the weights against the settings before the model is allocated.

    Raises:
        ValueError: if the tensors do not match the settings, are not stored completely, or are not finite.
    """
    with torch.device("meta"):
        wanted = {name: (tensor.shape, tensor.dtype) for name, tensor in build_model(settings).state_dict().items()}
    given = {name: (tensor.shape, tensor.dtype) for name, tensor in weights.items()}
    if differing := sorted(name for name in wanted.keys() | given.keys() if wanted.get(name) != given.get(name)):
        raise ValueError(f"the weights do not match the settings, {len(differing)} tensors differ, e.g. {differing[0]}")
    if any(tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes() for tensor in weights.values()):
        raise ValueError("the weights must be stored completely")
    if any(tensor.is_floating_point() and not torch.isfinite(tensor).all() for tensor in weights.values()):
        raise ValueError("the weights must be finite")
