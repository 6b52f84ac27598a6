"""The content of nnU-Net's `dataset.json`: which channel is cine and which LGE, and the meaning of the label values."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jointnet.data.description import LARGEST_VALUE, SCANS
from jointnet.data.init.label_meaning import Meaning
from jointnet.data.init.series import KINDS, words_of
from jointnet.errors import short_repr
from jointnet.structures import STRUCTURES

FILE = "dataset.json"
LARGEST_BYTES = 1024 * 1024
NAMES = {
    "lv": "lv|left ventricle|left ventricular cavity|lv cavity|lv pool|lv blood pool|left ventricle blood pool|lvc",
    "myo": "myo|myocardium|lv myocardium|left ventricular myocardium|lv myo|lvm|healthy myocardium|normal myocardium",
    "rv": "rv|right ventricle|right ventricular cavity|rv cavity|rv pool|rv blood pool|right ventricle blood pool|rvc",
    "scar": "scar|infarct|infarction|myocardial infarction|mi|fibrosis|no reflow|mvo|microvascular obstruction",
    "": "background|bg",
}
"""Names of labels, in lower case and with single spaces."""
MEANT = {name: key for key, names in NAMES.items() for name in names.split("|")}


class Declared(NamedTuple):
    """The content of the file.

    Attributes:
        patterns: pattern of the scans, if the channels' names distinguish them.
        values: the meaning of the label values; None if the file does not state it.
        unsure: what is not used, each a sentence.
    """

    patterns: Mapping[str, str]
    values: Meaning | None
    unsure: tuple[str, ...]


def declared(folder: Path) -> Declared:
    """Return the content of the file in a folder; empty if there is none."""
    path = folder / FILE
    if not path.is_file():
        return Declared({}, None, ())
    try:
        with path.open("rb") as stream:
            content = json.loads(stream.read(LARGEST_BYTES))
        channels, labels = content.get("channel_names", content.get("modality", {})), content["labels"]
        return _declared(channels.items(), [_label(*item) for item in labels.items()])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        rule = 'must be JSON with labels such as {"LV": 1} or {"1": "LV"} to be used'
        return Declared({}, None, (f"{path}: {rule}, got {short_repr(error)}",))


def _declared(channels: Any, labels: list[tuple[str, tuple[int, ...]]]) -> Declared:
    kinds = {int(number): {KINDS.get(word) for word in words_of(str(name))} for number, name in channels}
    shown = {scan: [number for number, own in kinds.items() if scan in own] for scan in SCANS}
    named = [numbers[0] for numbers in shown.values() if len(numbers) == 1]
    patterns = {}
    if len(set(named)) == len(SCANS):
        patterns = {scan: f"imagesTr/{{id}}_{number:04d}.nii.gz" for scan, number in zip(SCANS, named, strict=True)}
    if unknown := [name for name, _ in labels if _plain(name) not in MEANT]:
        text = (
            f"{FILE}: labels named {', '.join(map(short_repr, unknown))} are not known; positions identify the values"
        )
        return Declared(patterns, None, (text,))
    values: dict[str, tuple[int, ...]] = {key: () for key in NAMES}
    for name, own in labels:
        values[MEANT[_plain(name)]] += own
    scar = tuple(dict.fromkeys(values["scar"]))
    values["myo"] += scar
    structures = {name: tuple(dict.fromkeys(values[name])) for name in STRUCTURES if values[name]}
    several = [value for own in structures.values() for value in own]
    if len(set(several)) < len(several):
        return Declared(patterns, None, (f"{FILE}: a label value has two meanings; positions identify the values",))
    return Declared(patterns, Meaning(structures, scar) if structures else None, ())


def _label(key: str, value: Any) -> tuple[str, tuple[int, ...]]:
    """Return name and values of a label: `"LV": 1` or, of regions, `"LV": [1]`; in version 1 of nnU-Net `"1": "LV"`."""
    name, numbers = (value, [int(key)]) if isinstance(value, str) else (key, value)
    own = tuple(numbers if isinstance(numbers, list) else [numbers])
    if not all(isinstance(number, int) and 0 <= number <= LARGEST_VALUE for number in own):
        raise ValueError(f"values from 0 to {LARGEST_VALUE} are needed, not {short_repr(value)}")
    return name, tuple(number for number in own if number)


def _plain(name: str) -> str:
    return re.sub(r"[\W_]+", " ", name).strip().casefold()
