"""What a result depends on beside its specification: commit, versions and machine."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

PACKAGES = ("torch", "ray", "optuna", "mlflow", "numpy", "scipy", "pandas", "nibabel", "jointnet-study")


def commit() -> str:
    """Give the commit of the checkout that holds this package, `+changes` where files differ from it.

    An image or a submitted job holds the files only: there it is what `GIT_COMMIT` says.
    """
    root = Path(__file__).parents[1]
    head = _git(root, "rev-parse", "HEAD")
    if not head or not (root / "pyproject.toml").is_file():
        return os.environ.get("GIT_COMMIT") or "unknown"
    return head + ("+changes" if _git(root, "status", "--porcelain", "--untracked-files=no") else "")


def versions() -> dict[str, str]:
    """Give the versions of Python and of the packages that shape a result."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def machine() -> dict[str, str]:
    """Describe the driver's machine without naming it."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ""
    )
    memory = next((line.split()[1] for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), "")
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": model or platform.processor() or "unknown",
        "cpus": str(usable_cpus()),
        "memory_gb": str(round(int(memory) / 2**20)) if memory else "unknown",
    }


def usable_cpus() -> int:
    """Give the number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def tags() -> dict[str, str]:
    """Give commit, versions and machine as tags of a tracking store."""
    return (
        {"git.commit": commit()}
        | {f"version.{name}": version for name, version in versions().items()}
        | {f"machine.{name}": value for name, value in machine().items()}
    )


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return []
