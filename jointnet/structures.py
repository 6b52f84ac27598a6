"""The labelled structures: their names, their class indices in memory and their label values in files."""

STRUCTURES: tuple[str, ...] = ("lv", "myo", "rv")
"""Left-ventricular blood pool, left-ventricular myocardium, right-ventricular blood pool."""

STRUCTURE_TITLES: dict[str, str] = {"lv": "LV", "myo": "myocardium", "rv": "RV"}
"""Short names in texts, tables and figures."""

STRUCTURE_DESCRIPTIONS: dict[str, str] = {"lv": "LV blood pool", "myo": "LV myocardium", "rv": "RV blood pool"}
"""Exact names, for readers who do not know this project."""

CLASS_INDEX: dict[str, int] = {"myo": 1, "lv": 2, "rv": 3}
"""Class index in memory and in a network's output; 0 is background."""

BY_CLASS: tuple[str, ...] = tuple(sorted(CLASS_INDEX, key=lambda name: CLASS_INDEX[name]))
"""The structures in the order of their class indices, as in the channels of label maps without background."""

CLASSES: int = 1 + len(STRUCTURES)

LABEL_VALUE: dict[str, int] = {"myo": 200, "lv": 500, "rv": 600}
"""Voxel value in a `*_manual.nii.gz` of MS-CMRSeg 2019; 0 is background."""

CENTRED: tuple[str, ...] = ("lv", "rv")
"""The structures whose centre distance is measured: the two blood pools."""

SURROUNDED: tuple[str, str] = ("lv", "myo")
"""A structure and the one that surrounds it in short-axis slices. It is used to detect exchanged labels."""
