"""Imports between the packages and their parts follow the allowed directions, without cycles."""

import ast
import re
import subprocess
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
INSTRUMENTS = {"ray", "mlflow", "optuna", "study"}
PURE = {
    *(
        "jointnet.structures",
        "jointnet.errors",
        "jointnet.evaluate.aggregation",
        "jointnet.models",
        "jointnet.outlines",
        "jointnet.own_code",
        "jointnet.patient_names",
        "jointnet.system.terminal",
        "jointnet.train.objective",
    ),
    *("jointnet.scar", "jointnet.scar.threshold", "jointnet.scar.segments"),
}
"""What the report may use of the science: neither torch nor nibabel behind it."""


def _modules() -> dict[str, Path]:
    """Return all modules of the two packages by dotted name."""
    found = {}
    for path in [*(ROOT / "jointnet").rglob("*.py"), *(ROOT / "study").rglob("*.py")]:
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = _modules()


@cache
def _imports(module: str) -> frozenset[str]:
    """Return the dotted names that a module imports anywhere; names from the two packages as modules."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (names & set(MODULES)) or {node.module}
            if not names <= set(MODULES):
                found.add(node.module)
        assert not (isinstance(node, ast.ImportFrom) and node.level), f"{module}: relative import"
    return frozenset(found)


@cache
def _reached(module: str) -> frozenset[str]:
    """Return the modules of the two packages that a module imports, directly or indirectly, without parent packages."""
    seen: set[str] = set()
    queue = [module]
    while queue:
        for name in _imports(queue.pop()) & set(MODULES):
            if name not in seen:
                seen.add(name)
                queue.append(name)
    return frozenset(seen)


def test_search_spaces_hold_no_code():
    assert not list((ROOT / "search_spaces").rglob("*.py"))
    assert list((ROOT / "search_spaces").glob("*.toml"))


@pytest.mark.parametrize("module", [name for name in MODULES if name.split(".")[0] == "jointnet"])
def test_the_science_knows_nothing_of_the_instrument(module: str):
    assert not {name.split(".")[0] for name in _imports(module)} & INSTRUMENTS


def _report() -> set[str]:
    return {name for name in MODULES if _room(name) == "report"}


def test_the_report_reads_only_the_tracking_store():
    reached = set().union(*(_reached(module) for module in _report())) - _report()
    assert (
        reached - {"study", "study.report"}
        == {"study.arm_differences", "study.setting_text", "study.store_address", "study.store_names"} | PURE
    )
    roots = {module: {name.split(".")[0] for name in _imports(module)} for module in reached | _report()}
    assert not set().union(*roots.values()) & {"ray", "torch", "nibabel"}
    assert {module for module, used in roots.items() if "optuna" in used} == {"study.report.search.importance"}


REPORT_OF_A_RUN = ("study.run.conduct", "study.report.write")
"""The command that runs a study writes its report at the end."""


def test_the_search_uses_the_report_by_its_command_only():
    others = set(MODULES) - _report()
    used = {(name, other) for name in others for other in _imports(name) & set(MODULES) if _room(other) == "report"}
    interface = {("study.api", "study.report.store.reader"), ("study.api", "study.report.store.records")}
    assert used == {REPORT_OF_A_RUN} | interface


def test_loading_the_report_loads_neither_torch_nor_ray():
    code = "import sys, study.report.write, study.report.sections.search; "
    code += "print(sorted({'ray', 'torch', 'nibabel'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_trial_runs_without_ray_and_without_a_tracking_store():
    for module in _reached("study.trials.trial") | {"study.trials.trial"}:
        assert not {name.split(".")[0] for name in _imports(module)} & {"ray", "mlflow", "optuna"}, module


def test_one_module_writes_to_mlflow_one_reads_and_one_fetches_models():
    users = {module for module in MODULES if any(name.split(".")[0] == "mlflow" for name in _imports(module))}
    models = {
        "study.tracking.registry",
        "study.tracking.model_code",
    }  # registration of a model, and code that its registered copy loads
    opening = ("open_store", "database")  # they create and open the store
    writing = ("runs", "find_runs", "presentation")
    writers = {f"study.tracking.{name}" for name in (*writing, *opening)}
    assert users == {"study.report.store.mlflow_store", "study.tracking.download"} | writers | models
    assert not any("study.tracking.model_code" in _imports(name) for name in MODULES)
    assert {name for name in MODULES if "study.tracking.registry" in _imports(name)} == {
        "study.tracking.runs",
        "study.run.study_recorder",
    }
    assert not _reached("study.trials.trial") & users


OPTIONAL = {"SimpleITK": "jointnet.evaluate.mutual_information"}
"""Packages that one module uses where they are installed."""


def test_an_optional_package_is_used_by_one_module_and_declared_as_optional():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = {re.split(r"[^\w.-]", line)[0] for group in project["optional-dependencies"].values() for line in group}
    for package, module in OPTIONAL.items():
        assert {name for name in MODULES if package in _imports(name)} == {module}
        assert package in declared
        top = {name for node in ast.parse(MODULES[module].read_text()).body for name in _names(node)}
        assert package not in top  # the module loads without it


def _names(node: ast.stmt) -> set[str]:
    """Return the packages that an import statement names."""
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    return {str(node.module).split(".")[0]} if isinstance(node, ast.ImportFrom) else set()


def test_what_is_imported_is_declared_and_nothing_else_but_what_fanova_needs():
    own = {"jointnet", "study", *OPTIONAL} | sys.stdlib_module_names
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    alone, study = project["dependencies"], project["optional-dependencies"]["study"]
    provided, used = metadata.packages_distributions(), set()
    for package, lines in {"jointnet": alone, "study": alone + study}.items():
        declared = {re.split(r"[^\w.-]", line)[0].lower() for line in lines}
        modules = [name for name in MODULES if name.split(".")[0] == package]
        imported = {name.split(".")[0] for module in modules for name in _imports(module)} - own
        owners = {name: {owner.lower() for owner in provided[name]} & declared for name in imported}
        assert [name for name, found in owners.items() if not found] == []
        used.update(*owners.values())
    assert declared - used == {"scikit-learn"}  # Optuna's fANOVA imports it


def test_what_a_registered_model_loads_reads_no_scans():
    reached = _reached("study.tracking.model_code")
    assert "jointnet.networks.apply" in reached
    assert not {name for name in reached if name.startswith(("jointnet.data", "jointnet.preparation", "study"))}


def test_preparation_knows_files_but_no_folder():
    own = {module for module in MODULES if module.startswith("jointnet.preparation.")}
    assert own
    assert not {name for module in own for name in _reached(module) if name.startswith("jointnet.data")}


def test_no_module_imports_itself_through_others():
    circles = {module for module in MODULES if module in _reached(module)}
    packages = {module for module in circles if MODULES[module].name == "__init__.py"}
    assert not circles - packages, sorted(circles)


ROOMS = {
    "jointnet": (
        *("compute", "system", "settings", "preparation", "alignment", "networks", "evaluate", "data", "batches"),
        *("train", "predict", "scar", "contract", "export_bundle", "phantom", "view"),
    ),
    "study": ("search", "plan", "machines", "tracking", "trials", "selection", "run"),
}
"""The folders of the packages, of `study` without the report. Each may use those before it."""


def _room(module: str) -> str:
    parts = module.split(".")
    return parts[1] if parts[0] == "study" and len(parts) > 2 else ""


def _folder(module: str) -> str:
    """Return the folder of a module within its package, of a folder's `__init__.py` too; empty for the package's."""
    parts = MODULES[module].relative_to(ROOT).parts
    return parts[1] if len(parts) > 2 else ""


@pytest.mark.parametrize("room", ROOMS["study"])
def test_a_room_of_the_study_uses_those_before_it_only(room: str):
    own = [module for module in MODULES if _room(module) == room]
    imports = {(module, name) for module in own for name in _imports(module) & set(MODULES)} - {REPORT_OF_A_RUN}
    used = {_room(name) for _, name in imports}
    before = ROOMS["study"][: ROOMS["study"].index(room) + 1]
    assert used - {"", "report"} <= set(before)  # what may use the report is tested above


COMMANDS = ("__main__", "command")
"""Modules of a room that may use every room: they start what others do."""


@pytest.mark.parametrize("room", ROOMS["jointnet"])
def test_a_room_of_the_science_uses_those_before_it_only(room: str):
    science = {module for module in MODULES if module.startswith("jointnet.")}
    own = {module for module in science if _folder(module) == room and module.split(".")[-1] not in COMMANDS}
    assert own
    used = {_folder(name) for module in own for name in _imports(module) & science}
    assert used - {""} <= set(ROOMS["jointnet"][: ROOMS["jointnet"].index(room) + 1])


def test_every_folder_of_the_science_is_in_the_order():
    assert {_folder(module) for module in MODULES if module.startswith("jointnet.")} == {"", *ROOMS["jointnet"]}


def test_every_module_of_the_study_has_a_room_but_the_small_commands_and_what_the_report_shares():
    loose = {name for name in MODULES if name.startswith("study.") and not _room(name)}
    rooms = {f"study.{room}" for room in (*ROOMS["study"], "report")}
    commands = {"study.predict", "study.export_bundle"}
    shared = {"study.arm_differences", "study.setting_text", "study.store_address", "study.store_names"}
    assert loose - rooms == commands | shared | {"study.api"}
