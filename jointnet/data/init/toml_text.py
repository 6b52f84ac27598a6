"""The text of a proposed `dataset.toml`, and the table of what was found."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from jointnet.data.description import ROLES, SCANS
from jointnet.data.init.content import Files, Findings
from jointnet.data.init.label_meaning import Meaning
from jointnet.data.init.scan_files import ScanFiles
from jointnet.preparation.grid import Stack
from jointnet.structures import STRUCTURES
from jointnet.system.terminal import in_columns

MOST_LINES = 12
"""Number of patients up to which each has a line."""
COMMENTS = {
    "ignore": "  # counts as background",
    "scar": "  # values of myo that are scar",
    "frame": "  # of a 4D file, counted from 0; ed: the ED frame that Info.cfg or a table names",
}


def description_text(
    name: str, patterns: Mapping[str, str], found: Findings, preset: str | None, fixed: Mapping[str, Any]
) -> str:
    """Return the text of a `dataset.toml`.

    Args:
        name: name of the folder.
        patterns: pattern of the files by role.
        found: what the files hold.
        preset: name of the convention that the folder follows, or None.
        fixed: what the convention fixes, which is left out.
    """
    lines = ["# Proposed by `python -m jointnet.data init`; every line may be changed.", f"name = {_toml(name)}"]
    if preset is not None:
        lines.append(f"preset = {_toml(preset)}  # names and values of this convention; the lines below override it")
    if found.structures and len(found.structures) < len(STRUCTURES):
        lines.append(f"structures = {_toml(found.structures)}  # what the labels hold")
    files = {role: patterns[role] for role in ROLES if role in patterns}
    lines += _table("files", "{id}: the patient", files, fixed.get("files", {}))
    tables = label_tables(found)
    if tables.get("labels") != fixed.get("labels"):
        lines += _table("labels", "0 is background; a value that is not named is an error", tables.get("labels", {}))
    lines += _table("labels.cine", "labelled otherwise", tables.get("labels.cine", {}))
    for where in dict.fromkeys(where for where, _ in found.unlabelled):
        absent = {name: patients for (scan, name), patients in found.unlabelled.items() if scan == where}
        named = f"unlabelled.{where}" if where else "unlabelled"
        lines += _table(named, "not in these patients' labels: not drawn, or absent?", absent)
    frame = {} if found.frame is None else {"frame": found.frame}
    return "\n".join([*lines, *_table("cine", "", frame, fixed.get("cine", {}))]) + "\n"


def _table(name: str, comment: str, content: Mapping[str, Any], fixed: Mapping[str, Any] | None = None) -> list[str]:
    """Return the lines of a table, without what is fixed; none for an empty one."""
    own = {key: value for key, value in content.items() if value != (fixed or {}).get(key)}
    lines = [f"{key} = {_toml(value)}{COMMENTS.get(key, '')}" for key, value in own.items()]
    return ["", f"[{name}]" + f"  # {comment}" * bool(comment), *lines] if own else []


def label_tables(found: Findings) -> dict[str, dict[str, int | list[int]]]:
    """Return the content of `[labels]`, and of `[labels.cine]` if a value stands for different things in the scans."""
    meanings = {scan: one.meaning for scan, one in found.labels.items()}
    if not meanings:
        return {}
    together = _stated(list(meanings.values()))
    named = [value for key, own in together.items() if key != "scar" for value in np.atleast_1d(own).tolist()]
    if len(named) == len(set(named)):
        return {"labels": together}
    return {"labels": _stated([meanings["lge"]]), "labels.cine": _stated([meanings["cine"]])}


def _stated(meanings: Sequence[Meaning]) -> dict[str, int | list[int]]:
    """Return the values of several meanings together, as a table states them."""
    structures = {
        name: list(dict.fromkeys(value for one in meanings for value in one.structures.get(name, ())))
        for name in STRUCTURES
    }
    stated: dict[str, int | list[int]] = {
        name: own[0] if len(own) == 1 else own for name, own in structures.items() if own
    }
    more = {"ignore": [one.ignored for one in meanings], "scar": [one.scar for one in meanings]}
    return stated | {key: sorted(set().union(*own)) for key, own in more.items() if any(own)}


def patients_table(files: Files, found: Findings, scans: ScanFiles) -> str:
    """Return a table of what was found: a line for each patient or, for many, for all patients that are alike."""
    alike: dict[tuple[object, ...], list[str]] = defaultdict(list)
    for patient, own in files.items():
        held = tuple(_held(patient, own, scan, found) for scan in SCANS)
        alike[(held, *(scan in own for scan in SCANS), patient if len(files) <= MOST_LINES else "")].append(patient)
    lines = [("patient", "cine", "labels", "LGE", "labels")]
    for patients in sorted(alike.values(), key=lambda patients: -len(patients)):
        first = patients[0]
        shown = first if len(patients) == 1 else f"{len(patients)}: {first} to {patients[-1]}"
        cine, lge = (_geometry([files[name].get(scan) for name in patients], scans) for scan in SCANS)
        lines.append(
            (shown, cine, _held(first, files[first], "cine", found), lge, _held(first, files[first], "lge", found))
        )
    return in_columns(lines)


def _held(patient: str, own: Mapping[str, str], scan: str, found: Findings) -> str:
    """Return the label values of a patient's scan, or why there are none."""
    if f"{scan}_label" not in own:
        return "none"
    held = found.labels[scan].held.get(patient) if scan in found.labels else None
    return "unreadable" if held is None else " ".join(map(str, sorted(held))) or "empty"


def _geometry(paths: Sequence[str | None], scans: ScanFiles) -> str:
    """Return the ranges of voxel counts and sizes of scans that exist in all of the patients or in none."""
    headers = [header for path in paths if path is not None and (header := scans.header(path)) is not None]
    if not headers:
        return "missing" if None in paths else "unreadable"
    shapes = np.array([(*header.shape, header.frames) for header in headers])
    spacings_mm = np.array([Stack(header.affine, header.shape).spacing_mm for header in headers])
    shape = "x".join(_ranges(shapes if shapes[:, 3].max() > 1 else shapes[:, :3], "d"))
    return f"{shape}, {' '.join(_ranges(spacings_mm, '.2f'))} mm"


def _ranges(rows: NDArray[Any], form: str) -> list[str]:
    """Return the range of each column."""
    ends = zip(rows.min(0), rows.max(0), strict=True)
    return ["-".join(dict.fromkeys((f"{least:{form}}", f"{most:{form}}"))) for least, most in ends]


def _toml(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
