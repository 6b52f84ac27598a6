"""Provenance of a result in addition to its specification: commit, versions and machine."""

import platform
from pathlib import Path

from jointnet.system import versions as provenance
from jointnet.system.quota import usable_cpus, usable_memory_bytes
from jointnet.system.versions import commit

INSTRUMENTS = ("ray", "optuna", "mlflow")
"""Packages that influence a study's result, in addition to `jointnet.system.versions.PACKAGES`."""


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that influence a result."""
    return provenance.versions((*provenance.PACKAGES, *INSTRUMENTS))


def machine() -> dict[str, str]:
    """Return the system, CPU model, CPU count and memory of the driver's machine, without its name."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), ""
    )
    memory = usable_memory_bytes()
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": model or platform.processor() or "unknown",
        "cpus": str(usable_cpus()),
        "memory_gb": "unknown" if memory is None else str(round(memory / 2**30)),
    }


def tags() -> dict[str, str]:
    """Return commit, versions and machine as tags for the tracking store."""
    return (
        {"git.commit": commit()}
        | {f"version.{name}": version for name, version in versions().items()}
        | {f"machine.{name}": value for name, value in machine().items()}
    )


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(errors="replace").splitlines()
    except OSError:
        return []
