"""The user's own code that settings name: models, terms of the loss and metrics outside this package.

A reference is `package.module:NAME` or `folder/file.py:NAME`. A file may import installed packages, but no file beside
it. The source is read before it is run, so that its digest is known and it can be sent to other machines. This module
does not import torch.

A command runs the code that its user names. Code that a file from elsewhere names is run only if `--allow-code` also
names it (`allowed_reference`).
"""

import hashlib
import importlib
import importlib.util
import re
import sys
import tempfile
import traceback
import types
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jointnet.errors import SettingsError, short_repr

REFERENCE = re.compile(r"(?P<place>[^\n]+\.py|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)")
REFERENCE_WORDS = "own code as package.module:NAME or file.py:NAME"
DIGITS = 16
"""Hexadecimal digits of a digest."""


@dataclass(frozen=True)
class OwnCode:
    """The source of a reference.

    Attributes:
        reference: the reference as the settings have it.
        files: path and content of its file, or of all Python files of its package, relative to where Python finds it.
    """

    reference: str
    files: tuple[tuple[str, bytes], ...]

    @property
    def digest(self) -> str:
        """The first digits of the SHA-256 digest of the source."""
        total = hashlib.sha256()
        for name, content in self.files:
            total.update(f"{name}\0{len(content)}\0".encode() + content)
        return total.hexdigest()[:DIGITS]


_RUN: dict[str, tuple[OwnCode, types.ModuleType]] = {}
"""The code that this process has run and its module, by place."""


def is_reference(name: str) -> bool:
    """Return whether a name is a reference to the user's own code."""
    return REFERENCE.fullmatch(name) is not None


def named(reference: str) -> Any:
    """Return what a reference names. Its code is run if this process has not run it before.

    Raises:
        SettingsError: if the code is not found, fails, or lacks the name.
    """
    place, name = _parts(reference)
    if place not in _RUN:
        code = _find(reference)
        _RUN[place] = code, _run(code)
    module = _RUN[place][1]
    if not hasattr(module, name):
        raise SettingsError(f"{short_repr(reference)}: must name something in {place}, which has no {name}")
    return getattr(module, name)


def name_in(reference: str) -> str:
    """Return the name that a reference has in its file or module, which stands for it in logs."""
    return _parts(reference)[1]


def code_of(reference: str) -> OwnCode:
    """Return the source of a reference: the one that this process has run, or would run.

    Raises:
        SettingsError: if it is not found.
    """
    place, _ = _parts(reference)
    return _RUN[place][0] if place in _RUN else _find(reference)


def digests(references: Iterable[str]) -> dict[str, str]:
    """Return the digest of the code of each reference."""
    return {reference: code_of(reference).digest for reference in references}


def receive(codes: Iterable[OwnCode]) -> None:
    """Make code that another process sent available in this one, unless this machine has the same.

    A file is run from memory. A package is written to a temporary folder, in which Python looks first.
    """
    for code in codes:
        place, _ = _parts(code.reference)
        try:
            if code_of(code.reference).digest == code.digest:
                continue
        except SettingsError:
            pass
        if not place.endswith(".py"):
            folder = Path(tempfile.mkdtemp(prefix="jointnet-code-"))
            for name, content in code.files:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content)
            sys.path.insert(0, str(folder))
            importlib.invalidate_caches()
        _RUN[place] = code, _run(code)


def allowed_reference(reference: str, allowed: Sequence[str]) -> str | None:
    """Return the reference to run for one in a file from elsewhere; None if no value of `--allow-code` allows it.

    A value is the name of a package or module, or the path of the file, which may be elsewhere on this machine.
    """
    place, name = _parts(reference)
    for value in allowed:
        own = value.removesuffix(f":{name}")
        if own.endswith(".py") and Path(own).name == Path(place).name:
            return f"{own}:{name}"
        if not place.endswith(".py") and f"{place}.".startswith(f"{own}."):
            return reference
    return None


def _parts(reference: str) -> tuple[str, str]:
    """Return the place, a file or a module, and the name in it."""
    match = REFERENCE.fullmatch(reference)
    if match is None:
        raise SettingsError(f"{short_repr(reference)}: must be {REFERENCE_WORDS}")
    return match["place"], match["name"]


def _find(reference: str) -> OwnCode:
    """Return the source of a reference without running it."""
    place, _ = _parts(reference)
    try:
        files, root = ([Path(place)], Path(place).parent) if place.endswith(".py") else _package_files(place)
        return OwnCode(reference, tuple((str(file.relative_to(root)), file.read_bytes()) for file in files))
    except OSError as error:
        raise SettingsError(f"{short_repr(reference)}: must be a file that can be read: {error.strerror}") from None


def _package_files(module: str) -> tuple[list[Path], Path]:
    """Return all Python files of the package that holds a module, and the folder in which Python finds the package."""
    top = module.partition(".")[0]
    spec = importlib.util.find_spec(top)
    if spec is None and (here := str(Path.cwd())) not in sys.path:  # console scripts do not look in the working folder
        sys.path.append(here)
        spec = importlib.util.find_spec(top)
    if spec is None:
        raise SettingsError(f"{short_repr(module)}: must be a module that Python finds; there is no {top}")
    if spec.submodule_search_locations is None:
        file = Path(str(spec.origin))
        return [file] if spec.has_location else [], file.parent
    folder = Path(next(iter(spec.submodule_search_locations)))
    return sorted(folder.rglob("*.py")), folder.parent


def _run(code: OwnCode) -> types.ModuleType:
    """Run the code and return its module."""
    place, _ = _parts(code.reference)
    try:
        if not place.endswith(".py"):
            return importlib.import_module(place)
        ((_, source),) = code.files
        module = types.ModuleType(f"jointnet_own_{code.digest}")
        module.__file__ = place
        sys.modules[module.__name__] = module  # dataclasses look up their module
        exec(compile(source, place, "exec"), module.__dict__)
        return module
    except Exception as error:  # the user's code may raise anything
        last = traceback.extract_tb(error.__traceback__)[-1]
        text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise SettingsError(
            f"{short_repr(code.reference)}: must be code that runs, got {text} ({last.filename}, line {last.lineno})"
        ) from error
