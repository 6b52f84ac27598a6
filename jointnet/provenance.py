"""What a result depends on beside its input: commit and versions of the packages."""

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "numpy", "scipy", "pandas", "nibabel", "jointnet-study")
"""Packages that shape what a model gives."""


def commit() -> str:
    """Give the commit of the checkout that holds this package, `+changes` where files differ from it.

    An image or a submitted job holds the files only: there it is what `GIT_COMMIT` says.
    """
    root = Path(__file__).parents[1]
    head = _git(root, "rev-parse", "HEAD")
    if not head or not (root / "pyproject.toml").is_file():
        return os.environ.get("GIT_COMMIT") or "unknown"
    return head + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Give the versions of Python and of these packages, those left out that are not installed."""
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
