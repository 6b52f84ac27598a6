"""The arrows between the rooms, read from the import statements: they point one way and never in a circle."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
INSTRUMENTS = {"ray", "mlflow", "optuna", "study"}
PURE = {"jointnet.structures", "jointnet.faults", "jointnet.aggregation", "jointnet.outlines"}
"""What the report may use of the science: neither torch nor nibabel behind it."""


def _modules() -> dict[str, Path]:
    """Give every module of the two packages by its dotted name."""
    found = {}
    for path in [*(ROOT / "jointnet").rglob("*.py"), *(ROOT / "study").rglob("*.py")]:
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = _modules()


def _imports(module: str) -> set[str]:
    """Give the dotted names that a module imports anywhere, from its own packages as modules."""
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
    return found


def _reached(module: str) -> set[str]:
    """Give the own modules that a module imports, directly or through others; packages on the way are left out."""
    seen: set[str] = set()
    queue = [module]
    while queue:
        for name in _imports(queue.pop()) & set(MODULES):
            if name not in seen:
                seen.add(name)
                queue.append(name)
    return seen


def test_search_spaces_hold_no_code():
    assert not list((ROOT / "search_spaces").rglob("*.py"))
    assert list((ROOT / "search_spaces").glob("*.toml"))


@pytest.mark.parametrize("module", [name for name in MODULES if name.split(".")[0] == "jointnet"])
def test_the_science_knows_nothing_of_the_instrument(module: str):
    assert not {name.split(".")[0] for name in _imports(module)} & INSTRUMENTS


def test_the_report_reads_only_the_tracking_store():
    reached = _reached("study.report") | {"study.report"}
    own = {name for name in reached if name.startswith("study.reporting")}
    assert reached - own - {"study"} == {"study.report", "study.store_layout"} | PURE
    assert not {name.split(".")[0] for module in reached for name in _imports(module)} & {"ray", "optuna", "nibabel"}


def test_the_search_uses_the_report_by_its_command_only():
    users = {name for name in MODULES if any(used.startswith("study.reporting") for used in _imports(name))}
    assert {name for name in users if not name.startswith("study.reporting")} == {"study.report"}


def test_loading_the_report_loads_neither_torch_nor_ray():
    code = "import sys, study.report; print(sorted({'ray', 'torch', 'optuna', 'nibabel'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_trial_runs_without_ray_and_without_a_tracking_store():
    for module in _reached("study.trial") | {"study.trial"}:
        assert not {name.split(".")[0] for name in _imports(module)} & {"ray", "mlflow", "optuna"}, module


def test_one_module_writes_to_mlflow_one_reads_and_one_fetches_models():
    users = {module for module in MODULES if any(name.split(".")[0] == "mlflow" for name in _imports(module))}
    assert users == {"study.reporting.store", "study.tracking", "study.model_address"}
    assert not _reached("study.worker") & users


def test_no_module_imports_itself_through_others():
    circles = {module for module in MODULES if module in _reached(module)}
    packages = {module for module in circles if MODULES[module].name == "__init__.py"}
    assert not circles - packages, sorted(circles)
