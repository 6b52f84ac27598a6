"""Software provenance of a result: commit and package versions."""

import os
import platform
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "numpy", "scipy", "pandas", "nibabel", "jointnet-study")
"""Packages that affect a model's results."""


def commit() -> str:
    """Return the commit of this package's checkout, followed by `+changes` if tracked files differ from it.

    Without a checkout, as in a container image or a submitted job, return the environment variable `GIT_COMMIT`, or
    `unknown` if it is not set.
    """
    root = Path(__file__).parents[2]
    head = _git(root, "rev-parse", "HEAD")
    if not head or not (root / "pyproject.toml").is_file():
        return os.environ.get("GIT_COMMIT") or "unknown"
    return head + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Return the versions of Python and of those of the packages that are installed."""
    installed = {"python": platform.python_version()}
    for package in packages:
        try:
            installed[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return installed


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
