"""The text of a proposed `dataset.toml`, and the table of what was found."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from jointnet.data.init.content import Findings
from jointnet.data.init.look import Headers
from jointnet.data.init.roles import LABELS, SCANS
from jointnet.data.init.values import Meaning
from jointnet.preparation.grid import Stack
from jointnet.preparation.scan_file import ScanHeader
from jointnet.structures import STRUCTURES

MOST_LINES = 12
"""Number of patients up to which each has a line."""


def description_text(
    name: str,
    patterns: Mapping[str, str],
    found: Findings,
    preset: str | None = None,
    preset_values: Meaning | None = None,
    preset_frame: int | str | None = None,
) -> str:
    """Return the text of a `dataset.toml`.

    Args:
        name: name of the folder.
        patterns: pattern of the files by role, where no preset fixes it.
        found: what the files hold.
        preset: name of the convention, or None.
        preset_values: meaning of the label values that the preset fixes.
        preset_frame: the frame that the preset fixes.
    """
    lines = ["# Proposed by `python -m jointnet.data init`; every line may be changed.", f"name = {_quoted(name)}"]
    if preset is not None:
        lines.append(f"preset = {_quoted(preset)}  # names and values of this convention; the lines below override it")
    if found.structures and len(found.structures) < len(STRUCTURES):
        lines.append(f"structures = {_array(found.structures)}  # what the labels hold")
    if patterns:
        lines += ["", "[files]  # {id}: the patient"]
        lines += [f"{role} = {_quoted(patterns[role])}" for role in (*SCANS, *LABELS) if role in patterns]
    lines += _labels_lines(found, preset_values)
    for where in dict.fromkeys(where for where, _ in found.unlabelled):
        lines += ["", f"[unlabelled{'.' * bool(where)}{where}]  # not in these patients' labels: not drawn, or absent?"]
        lines += [
            f"{name} = {_array(patients)}" for (scan, name), patients in found.unlabelled.items() if scan == where
        ]
    if found.frame is not None and found.frame != preset_frame:
        comment = "the ED frame of Info.cfg beside the file" if found.frame == "ed" else "of a 4D file, counted from 0"
        lines += ["", "[cine]", f"frame = {_value(found.frame)}  # {comment}"]
    return "\n".join(lines) + "\n"


def _labels_lines(found: Findings, preset_values: Meaning | None) -> list[str]:
    """Return the lines of the label values; none where the preset's hold."""
    meanings = {scan: one.meaning for scan, one in found.labels.items()}
    if all(meant == preset_values for meant in meanings.values()):
        return []
    lines = [
        "",
        "[labels]  # 0 is background; a value that is not named is an error",
        *_value_lines(main_meaning(found)),
    ]
    if merged(list(meanings.values())) is None:
        lines += ["", "[labels.cine]  # labelled otherwise", *_value_lines(meanings["cine"])]
    return lines


def main_meaning(found: Findings) -> Meaning:
    """Return what the values of both scans stand for; those of LGE if the cine is labelled otherwise."""
    meanings = {scan: one.meaning for scan, one in found.labels.items()}
    return merged(list(meanings.values())) or meanings["lge"]


def merged(meanings: Sequence[Meaning]) -> Meaning | None:
    """Return what the values stand for, or None if one stands for different things."""
    roles: dict[int, str] = {}
    for meant in meanings:
        for name, values in (*meant.structures.items(), ("ignore", meant.ignored)):
            for value in values:
                if roles.setdefault(value, name) != name:
                    return None
    structures = {
        name: tuple(dict.fromkeys(value for meant in meanings for value in meant.structures.get(name, ())))
        for name in STRUCTURES
    }
    return Meaning(
        {name: values for name, values in structures.items() if values},
        tuple(sorted({value for meant in meanings for value in meant.scar})),
        tuple(sorted({value for meant in meanings for value in meant.ignored})),
    )


def _value_lines(meant: Meaning) -> list[str]:
    lines = [
        f"{name} = {_value(values[0] if len(values) == 1 else list(values))}"
        for name, values in meant.structures.items()
    ]
    lines += [f"ignore = {list(meant.ignored)}  # counts as background"] * bool(meant.ignored)
    return lines + [f"scar = {list(meant.scar)}  # values of myo that are scar"] * bool(meant.scar)


def patients_table(files: Mapping[str, Mapping[str, str]], found: Findings, headers: Headers) -> str:
    """Return a table of what was found: a line for each patient, or for many, a line for all that are alike."""
    lines: list[tuple[str, ...]] = [("patient", "cine", "labels", "LGE", "labels")]
    if len(files) <= MOST_LINES:
        for patient, own in files.items():
            cells = [
                cell
                for scan in SCANS
                for cell in (_geometry([_header(own, scan, headers)]), _held(patient, own, scan, found))
            ]
            lines.append((patient, *cells))
    else:
        alike: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for patient, own in files.items():
            frames = tuple(_kind(_header(own, scan, headers)) for scan in SCANS)
            alike[(*frames, *(_held(patient, own, scan, found) for scan in SCANS))].append(patient)
        for (_, _, *held), patients in sorted(alike.items(), key=lambda item: -len(item[1])):
            geometry = [_geometry([_header(files[name], scan, headers) for name in patients]) for scan in SCANS]
            shown = patients[0] if len(patients) == 1 else f"{len(patients)}: {patients[0]} to {patients[-1]}"
            lines.append((shown, geometry[0], held[0], geometry[1], held[1]))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


def _header(own: Mapping[str, str], scan: str, headers: Headers) -> ScanHeader | str:
    """Return the header of a patient's scan, or why there is none."""
    return "missing" if scan not in own else headers[own[scan]] or "unreadable"


def _kind(header: ScanHeader | str) -> str:
    return header if isinstance(header, str) else f"{min(header.frames, 2)}"


def _geometry(found: Sequence[ScanHeader | str]) -> str:
    """Return the range of the number of voxels and of the voxel sizes of scans."""
    headers = [header for header in found if not isinstance(header, str)]
    if not headers:
        return str(found[0])
    shape = "x".join(_range([header.shape[axis] for header in headers], "d") for axis in range(3))
    frames = f"x{_range([header.frames for header in headers], 'd')}" if headers[0].frames > 1 else ""
    spacings = np.array([Stack(header.affine, header.shape).spacing_mm for header in headers])
    return f"{shape}{frames}, {' '.join(_range(list(spacings[:, axis]), '.2f') for axis in range(3))} mm"


def _range(values: Sequence[float], form: str) -> str:
    least, most = f"{min(values):{form}}", f"{max(values):{form}}"
    return least if least == most else f"{least}-{most}"


def _held(patient: str, own: Mapping[str, str], scan: str, found: Findings) -> str:
    """Return the label values of a patient's scan, or why there are none."""
    if f"{scan}_label" not in own:
        return "none"
    held = found.labels[scan].held.get(patient) if scan in found.labels else None
    return "unreadable" if held is None else " ".join(map(str, sorted(held))) or "empty"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _array(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(_quoted, texts))}]"


def _value(value: object) -> str:
    return _quoted(value) if isinstance(value, str) else str(value)
