"""CPU seconds of this process and its descendants, by group."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "faults"))

from processes import descendants, title

GROUPS = {
    "ray::": "Ray's workers, the trainings",
    "gcs_server": "Ray's GCS",
    "raylet/raylet": "Ray's raylet",
    "/ray/": "Ray's other processes",
    "mlflow": "MLflow's server",
}
"""Name of the group by a part of the process's command line. The first match counts."""
DRIVER = "the driver, MLflow's thread included"


def seconds_by_group() -> dict[str, float]:
    """Return the CPU seconds so far of each group that has a process."""
    found = {DRIVER: _seconds(os.getpid())}
    for pid in descendants(os.getpid()):
        shown = title(pid)
        group = next((name for part, name in GROUPS.items() if part in shown), "others")
        found[group] = found.get(group, 0.0) + _seconds(pid)
    return found


def _seconds(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
