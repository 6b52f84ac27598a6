"""The distributions that a file needs elsewhere, read from its imports and from those of the modules behind it."""

import ast
import sys
from importlib import metadata
from pathlib import Path


def requirements(file: Path, package: Path) -> list[str]:
    """Return `name==version` of each distribution that a file imports by itself or by modules of a package.

    The versions are those installed here, without a local label such as torch's `+cpu`, which no public index has.

    Args:
        file: the Python file.
        package: folder of the package that goes with the file; what its modules import counts where they are reached.
    """
    provided = metadata.packages_distributions()
    found = set()
    for name in _foreign(file, package) - sys.stdlib_module_names:
        owners = provided[name]
        found.add(name if name in owners else owners[0])  # several distributions fill the folder of mlflow
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in sorted(found)]


def _foreign(file: Path, package: Path) -> set[str]:
    """Return the top-level names that a file and the modules of the package that it reaches import from elsewhere."""
    foreign: set[str] = set()
    seen, queue = {file}, [file]
    while queue:
        for name in _imported(queue.pop()):
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


def _imported(file: Path) -> set[str]:
    """Return the dotted names that a file imports anywhere; of `from a import b` both `a` and `a.b`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names
