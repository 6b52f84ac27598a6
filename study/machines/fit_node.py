"""The requirements of a node for trials: the driver's versions, and access to the folders that all nodes share.

All nodes are checked before a study starts (`study.machines.node_check`). A node may join later, so a trial checks its
own node when it starts. This module does not import Ray.
"""

import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from jointnet.system.versions import versions

COMPARED = ("python", "ray", "torch", "numpy")
"""Python and the packages that influence a trial. A suffix of the version such as `+cpu` may differ."""
SECONDS_TO_APPEAR = 5.0
"""A network file system may show a new folder late."""


class UnfitNodeError(Exception):
    """A node that joined after the study began cannot run its trials. The study halts, as every trial would fail."""


def version_errors(theirs: Mapping[str, str], here: Mapping[str, str], name: str) -> list[str]:
    """Return an error for each of COMPARED whose version on a node differs from the driver's."""
    pairs = [(package, _public(here, package), _public(theirs, package)) for package in COMPARED]
    return [
        f"{package}: must have one version on all nodes, got {expected} here and {version} on {name}"
        for package, expected, version in pairs
        if version != expected
    ]


def check_versions(drivers: Mapping[str, str]) -> None:
    """Check that this process has the driver's versions.

    Raises:
        UnfitNodeError: a version differs.
    """
    if errors := version_errors(versions(COMPARED), drivers, socket.gethostname()):
        raise UnfitNodeError("; ".join(errors))


def check_seen(paths: Sequence[Path]) -> None:
    """Check that this process sees paths that all nodes shared when the study began.

    Raises:
        UnfitNodeError: it does not see one.
    """
    until = time.monotonic() + SECONDS_TO_APPEAR
    while missing := [path for path in paths if not path.exists()]:
        if time.monotonic() >= until:
            raise UnfitNodeError(
                f"{missing[0]}: all nodes shared it when the study began, but {socket.gethostname()}, which joined "
                "later, does not see it; repeat the command, which then sends files through Ray"
            )
        time.sleep(0.2)


def _public(versions: Mapping[str, str], package: str) -> str:
    """Return a package's version without its suffix."""
    return versions.get(package, "none").partition("+")[0]
