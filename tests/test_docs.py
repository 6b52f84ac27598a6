"""The documentation: links lead to files, commands have the options that are shown, and the whole stays short."""

import importlib
import re
import runpy
import shlex
import textwrap
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from test_help import COMMANDS

from jointnet.phantom.writer import write_phantom

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
MOST_WORDS = 15_000
"""Of the README and everything in `docs/`."""


def _commands(page: Path) -> list[list[str]]:
    """Return the words of every shown command of this project, from `jointnet.X` or `study.X` on."""
    text = page.read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.startswith("    ")]
    lines += re.findall(r"`(python -m (?:jointnet|study)\.[^`\n]*)`", text)
    found = (re.search(r"python -m ((?:jointnet|study)\.\w+\b.*)", line) for line in lines)
    return [shlex.split(match[1], comments=True) for match in found if match]


@cache
def _options(command: str) -> frozenset[str]:
    """Return the long options that the command's `--help` names."""
    with pytest.MonkeyPatch.context() as patch:
        printed: list[str] = []
        patch.setattr("argparse.ArgumentParser._print_message", lambda _, message, file=None: printed.append(message))
        with pytest.raises(SystemExit):
            importlib.import_module(COMMANDS[command]).main(["--help"])
    return frozenset(re.findall(r"--[a-z][a-z0-9-]*", " ".join(printed)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_to_a_file(page: Path):
    targets = re.findall(r"\]\(([^)]+)\)", page.read_text())
    local = [target.partition("#")[0] for target in targets if not target.startswith("http")]
    assert [target for target in local if not (page.parent / target).exists()] == []


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_anchor_is_a_heading(page: Path):
    targets = re.findall(r"\]\((?!http)([^)#]*)#([^)]+)\)", page.read_text())
    missing = [
        f"{path}#{anchor}" for path, anchor in targets if anchor not in _anchors(page.parent / path if path else page)
    ]
    assert missing == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_exists_with_its_options(page: Path):
    for command, *words in _commands(page):
        name = command if command in COMMANDS else command.rpartition(".")[0]
        given = {word.partition("=")[0] for word in words if word.startswith("--") and len(word) > 2}
        if name == "jointnet.data":
            given = set()  # options of its sub-command, tested in tests/jointnet/data/test_check.py
        assert name in COMMANDS, command
        assert given <= _options(name), (command, given - _options(name))


def test_paths_of_the_code_exist():
    for each in PAGES:
        named = re.findall(r"`((?:jointnet|study|tests|benchmarks|cluster)/[\w/.-]*\w)`", each.read_text())
        assert [path for path in named if not (ROOT / path).exists()] == [], each


def test_the_settings_page_is_that_of_the_code():
    assert (ROOT / "docs/reference/settings.md").read_text() == runpy.run_path(str(ROOT / "docs/make_reference.py"))[
        "page"
    ]()


@pytest.mark.slow
def test_the_python_example_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The example of the Python interface, with fewer and smaller trainings, on a phantom of five patients."""
    text = (ROOT / "docs/reference/python-api.md").read_text()
    blocks = re.findall(r"\n\n((?:    .*\n|\n(?=    ))+)", text)
    code = textwrap.dedent(blocks[0])
    monkeypatch.chdir(tmp_path)
    write_phantom(tmp_path / "data/phantom", 5)
    for long, short in {
        "range(1, 16)": "range(1, 4)",
        "[:12]": "[:2]",
        "[12:]": "[2:]",
        "range(16, 21)": "[4, 5]",
    }.items():
        assert long in code
        code = code.replace(long, short)
    names: dict[str, Any] = {}
    exec(code.replace("epochs=20", "epochs=1").replace("patient17", "patient5"), names)
    assert set(names["rows"]["patient"]) == {"4", "5"}
    assert names["volume"].shape == names["cine"].shape
    assert names["errors"] == [] and names["ratio"] > 0


def test_the_documentation_is_short():
    words = {page: len(page.read_text().split()) for page in PAGES if page.name != "CONTRIBUTING.md"}
    assert sum(words.values()) <= MOST_WORDS


def test_pages_that_the_code_names_exist():
    for path in (path for folder in ("jointnet", "study", "benchmarks") for path in (ROOT / folder).rglob("*.py")):
        named = set(re.findall(r"\bdocs/[\w/-]+\.md", path.read_text())) - {"docs/README.md"}  # in a MONAI bundle
        assert [page for page in named if not (ROOT / page).exists()] == [], path
