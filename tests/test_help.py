"""The `--help` text of every command."""

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from jointnet.settings import settings_names

ROOT = Path(__file__).parents[1]
MODULES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for package in ("jointnet", "study")
    for path in (ROOT / package).rglob("*.py")
    if '__name__ == "__main__"' in path.read_text()
)
COMMANDS = {module.removesuffix(".__main__"): module for module in MODULES}
"""The commands of `python -m`, each with its module."""
HEAVY = {
    "torch",
    "ray",
    "mlflow",
    "optuna",
    "matplotlib",
    "pandas",
    "nibabel",
    "scipy",
    "skimage",
    "numpy",
    "statsmodels",
}
"""Packages that take 0.1 s to several seconds to import."""
QUICK = ("train", "evaluate", "predict", "export_bundle", "view", "scar", "phantom", "data")
"""Commands of `jointnet` that must print their help at once."""
STUDY = tuple(command for command in COMMANDS if command.startswith("study."))


def help_text(command: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Return the output of `--help` in one line."""
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(COMMANDS[command]).main(["--help"])
    assert ended.value.code == 0
    return " ".join(capsys.readouterr().out.split())


SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
"""The console scripts, each with its module and function."""


@pytest.mark.parametrize("script", SCRIPTS)
def test_a_console_script_is_a_command_and_names_itself(
    script: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    module, function = SCRIPTS[script].split(":")
    assert module in MODULES and function == "main"
    monkeypatch.setattr(sys, "argv", [f"/somewhere/bin/{script}"])
    assert help_text(module.removesuffix(".__main__"), capsys).startswith(f"usage: {script} ")


def test_without_the_packages_of_a_study_its_commands_say_what_to_install():
    code = "from importlib.machinery import PathFinder as P; find = P.find_spec; "
    code += "P.find_spec = lambda name, *rest: None if name in ('ray', 'optuna') else find(name, *rest); import study"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    last = done.stderr.splitlines()[-1]
    assert done.returncode and "not installed, ray, optuna: pip install 'jointnet-study[study]'" in last


def test_the_commands_are_found():
    assert {"jointnet.train", "jointnet.predict", "study.run", "study.predict", "study.export_bundle"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_names_itself(command: str, capsys: pytest.CaptureFixture[str]):
    assert help_text(command, capsys).startswith(f"usage: python -m {command} ")


@pytest.mark.parametrize("command", ["study.predict", "study.export_bundle"])
def test_a_command_that_takes_a_stores_models_says_so(command: str, capsys: pytest.CaptureFixture[str]):
    text = help_text(command, capsys)
    assert all(address in text for address in ("models:/NAME@ALIAS", "models:/NAME/VERSION", "runs:/RUN_ID/PATH"))


@pytest.mark.parametrize("command", ["jointnet.train", "study.run"])
def test_a_command_that_takes_settings_names_all_that_are_shipped(command: str, capsys: pytest.CaptureFixture[str]):
    assert {"default", "paper", "quick"} <= set(settings_names())
    assert ", ".join(settings_names()) in help_text(command, capsys)


@pytest.mark.parametrize("command", [*(f"jointnet.{name}" for name in QUICK), *STUDY])
def test_help_imports_no_large_package(command: str):
    code = f"import atexit, sys; from {COMMANDS[command]} import main; "
    code += f"atexit.register(lambda: print(sorted({HEAVY} & set(sys.modules)), file=sys.stderr)); main(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert f"python -m {command} " in done.stdout.rpartition("example")[2] and done.stderr.strip() == "[]"


def test_a_study_prints_its_first_line_before_a_large_package_is_imported():
    code = f"import sys; sys.modules.update(dict.fromkeys({HEAVY})); from study.run.__main__ import main; "
    code += "main(['--search', 'smoke', '--dry-run'])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "Planning the study smoke ...\n" and "ModuleNotFoundError: import of " in done.stderr
