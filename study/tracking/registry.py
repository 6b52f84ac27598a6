"""The registered model of each arm: `jointnet-<arm>`, alias `champion`, loadable without this repository.

The model's pip requirements are found from the imports of its code and of the package `jointnet` that comes with it.

An arm may have been tested with several models, one for each fold or retraining. The model with the best validation
objective is registered, because test values must not select anything. The tag `tested.models` is their number.
"""

import ast
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import mlflow.pyfunc
import numpy as np
from mlflow import MlflowClient
from mlflow.entities import LoggedModelOutput
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types import Schema, TensorSpec

import jointnet
from jointnet.common_grid import SIZE_PX
from jointnet.own_code import OwnCode, code_of

ALIAS = "champion"
CODE_FILE = Path(__file__).with_name("model_code.py")


@dataclass(frozen=True)
class Champion:
    """One model to register.

    Attributes:
        name: name of the registered model, such as `jointnet-joint-25`.
        file: the model file written by `jointnet.model_file.save_model`.
        run_id: id of the run that trained the model.
        segments: whether the model predicts labels.
        code: reference to the user's own code that builds the model; None for a model of `jointnet`.
        tags: identify the version; they include `study.id`, `data.kind`, `trial.id` and `epoch`.
        description: text for the MLflow UI.
    """

    name: str
    file: Path
    run_id: str
    segments: bool
    tags: Mapping[str, str]
    description: str
    code: str | None = None


def registered_name(arm: str) -> str:
    """Return the name of an arm's registered model."""
    return f"jointnet-{arm}"


def register(client: MlflowClient, experiment: str, champion: Champion) -> str:
    """Log and register a model unless it is registered already, set its aliases and return its version.

    The alias `champion` moves to the model of the newest study. Repeating an older study does not move it back. A
    phantom model never takes it from a model of real scans. The alias `study-ID` always points to the study's model.
    """
    version = _find_version(client, champion)
    if version is None:
        model_id, location = _log_model(client, experiment, champion)
        if not any(model.name == champion.name for model in client.search_registered_models()):
            client.create_registered_model(champion.name, description="Selected on validation patients by a study.")
        created = client.create_model_version(
            champion.name,
            location,
            run_id=champion.run_id,
            tags=dict(champion.tags),
            description=champion.description,
            model_id=model_id,
        )
        version = str(created.version)
    study_alias = f"study-{champion.tags['study.id']}"
    if _version_of_alias(client, champion.name, study_alias) != version:  # set last: all earlier steps are done then
        if _may_be_champion(client, champion):
            client.set_registered_model_alias(champion.name, ALIAS, version)
        client.set_registered_model_alias(champion.name, study_alias, version)
    return version


def signature(segments: bool) -> ModelSignature:
    """Return the shapes and types of input and output."""
    outputs = [TensorSpec(np.dtype("float32"), (-1, 2, 3), "theta")]
    if segments:
        names = ("cine_labels", "lge_labels")
        outputs += [TensorSpec(np.dtype("uint8"), (-1, SIZE_PX, SIZE_PX), name) for name in names]
    images = TensorSpec(np.dtype("float32"), (-1, 2, SIZE_PX, SIZE_PX))
    return ModelSignature(Schema([images]), Schema(outputs))


def input_example() -> np.ndarray:
    """Return a synthetic slice (1, 2, H, W): a disc in cine and the same disc in LGE, shifted by 8 pixels (6 mm).

    The example is stored with the model, so it must not be a patient's image.
    """
    rows, columns = np.mgrid[:SIZE_PX, :SIZE_PX]
    discs = [np.hypot(rows - SIZE_PX / 2, columns - SIZE_PX / 2 - shift) < 28 for shift in (0, 8)]
    return np.stack(discs)[None].astype(np.float32)


def _log_model(client: MlflowClient, experiment: str, champion: Champion) -> tuple[str, str]:
    """Log the model, link it to the run that trained it, and return its id and its artifact location."""
    for leftover in _unfinished(client, experiment, champion):
        client.delete_logged_model(leftover)
    logged = client.create_logged_model(
        experiment, champion.name, champion.run_id, dict(champion.tags), model_type="registration"
    )
    package, own = Path(jointnet.__file__).parent, champion.code
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "model"
        own_code = _written(code_of(own), Path(scratch) / "own") if own else []
        mlflow.pyfunc.save_model(
            folder,
            mlflow_model=Model(
                artifact_path=logged.artifact_location,
                model_uuid=logged.model_id,
                run_id=champion.run_id,
                model_id=logged.model_id,
            ),
            python_model=str(CODE_FILE),
            artifacts={"model": champion.file.as_uri()},  # a URI, since MLflow would unquote a path
            code_paths=[str(package), *map(str, own_code)],
            pip_requirements=requirements(CODE_FILE, package, own_code),
            model_config={"allow_code": []},
            signature=signature(champion.segments),
            input_example=input_example(),
        )
        client.log_model_artifacts(logged.model_id, str(folder))
    client.finalize_logged_model(logged.model_id, "READY")
    client.log_outputs(champion.run_id, [LoggedModelOutput(logged.model_id, step=int(champion.tags["epoch"]))])
    return str(logged.model_id), str(logged.artifact_location)


def _unfinished(client: MlflowClient, experiment: str, champion: Champion) -> list[str]:
    """Return the ids of logged models that a killed driver left without a registered version."""
    models = client.search_logged_models([experiment], f"tags.`study.id` = '{champion.tags['study.id']}'")
    return [model.model_id for model in models if _is_of(champion, dict(model.tags), model.name)]


def _find_version(client: MlflowClient, champion: Champion) -> str | None:
    """Return the registered version of the model, or None."""
    versions = client.search_model_versions(f"name = '{champion.name}'")
    return next((str(each.version) for each in versions if _is_of(champion, dict(each.tags), each.name)), None)


def _is_of(champion: Champion, tags: Mapping[str, str], name: str) -> bool:
    """Return whether a logged model or version with these tags and name is this champion's."""
    return name == champion.name and champion.tags.items() <= tags.items()


def _may_be_champion(client: MlflowClient, champion: Champion) -> bool:
    """Return whether the model may take the alias `champion`; a phantom model may not take it from real scans."""
    current = _version_of_alias(client, champion.name, ALIAS)
    if current is None or champion.tags["data.kind"] != "phantom":
        return True
    return client.get_model_version(champion.name, current).tags.get("data.kind") == "phantom"


def _version_of_alias(client: MlflowClient, name: str, alias: str) -> str | None:
    """Return the version that an alias points to, or None if there is none."""
    try:
        return str(client.get_model_version_by_alias(name, alias).version)
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def _written(code: OwnCode, folder: Path) -> list[Path]:
    """Write the user's own code to a folder and return the path of its file or package."""
    for name, content in code.files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return sorted(folder.iterdir())


def requirements(file: Path, package: Path, own_code: Sequence[Path] = ()) -> list[str]:
    """Return `name==version` of each distribution that a file imports, directly or through modules of a package.

    The versions are the installed ones. A local label such as torch's `+cpu` is removed, since public indexes lack it.

    Args:
        file: the Python file.
        package: folder of the package that is shipped with the file. Its modules count if the file imports them.
        own_code: files and folders of the user's own code that are shipped, too. All their modules count.
    """
    provided = metadata.packages_distributions()
    names = set()
    files = [file, *(each for path in own_code for each in ([path] if path.is_file() else path.rglob("*.py")))]
    foreign = set().union(*(_foreign_imports(each, package) for each in files)) - {path.stem for path in own_code}
    for name in foreign - sys.stdlib_module_names:
        owners = provided[name]
        names.add(name if name in owners else owners[0])  # several distributions install into the folder `mlflow`
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in sorted(names)]


def _foreign_imports(file: Path, package: Path) -> set[str]:
    """Return the top-level names outside the package that a file and the package modules it reaches import."""
    foreign: set[str] = set()
    seen, queue = {file}, [file]
    while queue:
        for name in _imported_names(queue.pop()):
            top, *parts = name.split(".")
            if top != package.name:
                foreign.add(top)
                continue
            reached = [package.joinpath(*parts[:depth], "__init__.py") for depth in range(len(parts) + 1)]
            reached.append(package.joinpath(*parts).with_suffix(".py"))
            new = {path for path in reached if path.is_file()} - seen
            seen |= new
            queue += new
    return foreign


def _imported_names(file: Path) -> set[str]:
    """Return all dotted names that a file imports. `from a import b` yields both `a` and `a.b`.

    Imports under `if TYPE_CHECKING:` are left out, because they are not executed.
    """
    names: set[str] = set()
    queue: list[ast.AST] = [ast.parse(file.read_text(encoding="utf-8"))]
    while queue:
        node = queue.pop()
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            queue += node.orelse
            continue
        queue += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names
