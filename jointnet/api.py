"""The Python interface: the functions that `import jointnet` offers to notebooks and scripts."""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from jointnet.compute.device import resolve_device
from jointnet.data.check.inspection import inspect_folder
from jointnet.data.description import load_dataset
from jointnet.data.folder import scan_folder, select
from jointnet.errors import DataError
from jointnet.evaluate.metrics import defined_metrics, undefined_metric_errors
from jointnet.evaluate.rows import evaluate
from jointnet.model_file import SavedModel, open_model
from jointnet.model_file import load_model as load_model_file
from jointnet.model_path import MODEL_FILE
from jointnet.patient_names import in_natural_order, names_text
from jointnet.predict import pair
from jointnet.predict.output_files import write_results
from jointnet.preparation.cache import CachedPatient, prepare
from jointnet.preparation.patient_files import PatientFiles
from jointnet.settings import Settings, for_data, load_settings, own_code_of, with_epochs, with_values
from jointnet.structures import STRUCTURES
from jointnet.train.loop import train
from jointnet.train.objective import EpochReport


def check_folder(
    folder: str | Path, patients: Iterable[str | int] | None = None, dataset: str | Path | None = None
) -> tuple[pd.DataFrame, list[str]]:
    """Inspect the scans of a folder, as `python -m jointnet.data check` does.

    Args:
        folder: folder in the layout of MS-CMRSeg 2019, or of any layout that `dataset.toml` in it describes.
        patients: these only; all if None.
        dataset: the file that describes the folder, instead of `dataset.toml` in it.

    Returns:
        One row per patient with the facts of headers and voxels, and all errors. The folder can be trained on if there
        are none.

    Raises:
        DataError: if there is no such folder, or no patient in it.
    """
    only = None if patients is None else in_natural_order(map(str, patients))
    facts = inspect_folder(Path(folder), only=only, dataset=load_dataset(Path(folder), _path(dataset)))
    table = pd.json_normalize([asdict(patient) for patient in facts.patients], sep="_")
    return table.set_index("patient"), list(facts.errors)


def load_folder(
    folder: str | Path,
    patients: Iterable[str | int] | None = None,
    cache: str | Path | None = None,
    dataset: str | Path | None = None,
) -> list[CachedPatient]:
    """Return patients on the common grid, in natural order. Those that are not in the cache are prepared.

    Args:
        folder: folder in the layout of MS-CMRSeg 2019, or of any layout that `dataset.toml` in it describes.
        patients: these only; all if None.
        cache: folder of prepared patients; that of the commands if None.
        dataset: the file that describes the folder, instead of `dataset.toml` in it.

    Raises:
        DataError: with all errors of all patients.
    """
    wanted = None if patients is None else in_natural_order(map(str, patients))
    scans, errors = scan_folder(Path(folder), only=wanted, dataset=load_dataset(Path(folder), _path(dataset)))
    return prepare(select(scans, scans if wanted is None else wanted, errors), _path(cache), known_errors=errors)


def train_model(
    training: Sequence[CachedPatient],
    validation: Sequence[CachedPatient],
    *,
    model: str = "joint",
    settings: str | Path | Settings = "default",
    epochs: int | None = None,
    seed: int = 0,
    device: str = "auto",
    out: str | Path | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> SavedModel:
    """Train a model and return it with the weights of its best epoch by `val/registration_ratio`.

    It learns those structures of the settings that are labelled in at least one of the patients.

    Args:
        training: the training patients. Some may have labels of one scan only, or of some structures only.
        validation: the patients on whom the best epoch is chosen.
        model: `standalone`, `joint`, or a reference to your own (`docs/how-to/own-model.md`).
        settings: name or file of the settings, or the settings themselves, whose model name is replaced by `model`.
        epochs: number of epochs, instead of that of the settings.
        seed: the seed of the initial weights, the order of slices and the augmentation.
        device: the device; `auto` selects a GPU if there is one.
        out: folder for `model.pt`; nothing is kept on disk if None.
        on_epoch: called with the report of every epoch.

    Raises:
        SettingsError: with all invalid settings.
        DataError: if a patient is in both sets, or if nothing could be learned from the training patients or measured
            on the validation patients.
        TrainingDivergedError: if the loss becomes NaN or infinite.
    """
    name = {"model.name": model}
    base = settings if isinstance(settings, Settings) else load_settings(settings, with_values(Settings(), name))
    own = with_values(base, name)
    own = own if epochs is None else with_epochs(own, epochs)
    labelled = np.any([patient.labelled().any(0) for patient in (*training, *validation)], axis=0)
    in_data = [name for name, is_labelled in zip(STRUCTURES, labelled, strict=True) if is_labelled]
    own = for_data(own, in_data)
    learned, measured = (
        {patient.patient: defined_metrics(patient.labels(), patient.field()) for patient in part}
        for part in (training, validation)
    )
    errors = [
        *undefined_metric_errors("training: patients", learned, "learned", own.model.structures),
        *undefined_metric_errors("validation: patients", measured, "measured", own.model.structures),
    ]
    if both := in_natural_order(learned.keys() & measured.keys()):
        errors.append(f"validation: must be other patients than training, got {names_text(both)} in both")
    if errors:
        raise DataError(errors)
    with tempfile.TemporaryDirectory() as temporary:
        folder = _path(out) or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MODEL_FILE).unlink(missing_ok=True)  # else a training that diverges would leave an earlier model
        train(own, training, validation, seed=seed, device=device, out=folder, on_epoch=on_epoch)
        return load_model_file(folder / MODEL_FILE, resolve_device(device), own_code_of(own))


def load_model(path: str | Path, device: str = "cpu", allow_code: Sequence[str] = ()) -> SavedModel:
    """Read a model from a `model.pt` or from the folder that holds it. No code in the file is executed.

    The name `descriptors` stands for registration by the images alone, which needs no training and has no file.

    Args:
        path: the name, the file or the folder.
        device: the device.
        allow_code: packages and Python files whose code may be run, if the file names it as its network.

    Raises:
        InputError: if the file is missing, damaged or of another format.
    """
    return open_model(path, resolve_device(device), allow_code=allow_code)


def evaluate_model(model: SavedModel | None, patients: Sequence[CachedPatient], device: str = "cpu") -> pd.DataFrame:
    """Evaluate a model, or with None no registration at all, on patients with manual segmentations.

    Returns:
        One row per patient, slice, structure and metric, with the columns of `jointnet.evaluate.rows.evaluate`.
        `jointnet.summarise` averages them over patients, `jointnet.registration_ratio` reduces them to one number.
    """
    where = resolve_device(device)
    return evaluate(None if model is None else model.model.to(where), patients, where)


def predict_pair(
    model: SavedModel,
    cine: str | Path,
    lge: str | Path,
    out: str | Path | None = None,
    device: str = "cpu",
    heart: Sequence[float] | None = None,
    frame: int | None = None,
) -> pair.PairResult:
    """Register an LGE scan onto a cine scan and, with a joint model, segment both.

    Args:
        model: the model.
        cine: NIfTI file of the fixed scan.
        lge: NIfTI file of the moving scan.
        out: folder for the files that `python -m jointnet.predict` writes, without its record; none is written if None.
        device: the device.
        heart: a point in cine's LV in mm, in the world of NIfTI (RAS+), for models that do not segment; by default the
            middle of the region that both scans cover.
        frame: the frame of a 4D cine, counted from 0.

    Returns:
        The transforms, the quality of each slice, warnings, and the content of all files. `result.image(name)` returns
        one of the volumes, such as `lge_registered.nii.gz`.

    Raises:
        DataError: with every error of the scans.
        SettingsError: if the heart is out of view, or is given for a model that segments.
        OSError: if a file cannot be written.
    """
    where = resolve_device(device)
    model.model.to(where)
    result = pair.predict_pair(model, PatientFiles("0", Path(cine), Path(lge), cine_frame=frame), where, heart=heart)
    if out is not None:
        write_results(Path(out), result.files)
    return result


def _path(value: str | Path | None) -> Path | None:
    return None if value is None else Path(value)
