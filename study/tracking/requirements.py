"""The pip requirements of a Python file, found from its imports and those of the modules that it imports."""

import ast
import sys
from importlib import metadata
from pathlib import Path


def requirements(file: Path, package: Path) -> list[str]:
    """Return `name==version` of each distribution that a file imports, directly or through modules of a package.

    The versions are the installed ones. A local label such as torch's `+cpu` is removed, since public indexes lack it.

    Args:
        file: the Python file.
        package: folder of the package that is shipped with the file. Its modules count if the file imports them.
    """
    provided = metadata.packages_distributions()
    found = set()
    for name in _foreign(file, package) - sys.stdlib_module_names:
        owners = provided[name]
        found.add(name if name in owners else owners[0])  # several distributions install into the folder `mlflow`
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in sorted(found)]


def _foreign(file: Path, package: Path) -> set[str]:
    """Return the top-level names outside the package that a file and the package modules it reaches import."""
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
    """Return all dotted names that a file imports. `from a import b` yields both `a` and `a.b`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names
