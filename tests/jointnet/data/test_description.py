"""`dataset.toml`: what it says, the presets, and every error of a bad one."""

import pytest

from jointnet.data.description import Dataset, load_dataset, preset_content, presets
from jointnet.errors import SettingsError
from jointnet.preparation.labels import CHALLENGE_VALUES, LabelValues
from jointnet.structures import STRUCTURES

FILES = """
[files]
cine = "{id}/{id}_sax.nii.gz"
lge = "{id}/{id}_psir.nii.gz"
cine_label = "{id}/{id}_sax_seg.nii.gz"
lge_label = "{id}/{id}_psir_seg.nii.gz"
"""
LABELS = """
[labels]
lv = 1
myo = [2, 3, 4]
rv = 5
ignore = [6]
scar = [3, 4]
"""


@pytest.fixture
def described(tmp_path):
    """Return a function that writes a `dataset.toml` and loads it."""

    def write(text):
        (tmp_path / "dataset.toml").write_text(text, encoding="utf-8")
        return load_dataset(tmp_path)

    return write


def test_a_whole_description(described, tmp_path):
    text = 'name = "our hospital, 2024"\nunlabelled = {rv = ["case_004"], lge = {lv = ["case_5"]}}\n'
    dataset = described(text + FILES + LABELS + "[labels.cine]\nlv = 3\nmyo = 2\nrv = 1\n[cine]\nframe = 0\n")
    assert dataset == Dataset(
        name="our hospital, 2024",
        patterns={
            "cine": "{id}/{id}_sax.nii.gz",
            "lge": "{id}/{id}_psir.nii.gz",
            "cine_label": "{id}/{id}_sax_seg.nii.gz",
            "lge_label": "{id}/{id}_psir_seg.nii.gz",
        },
        cine_values=LabelValues((("lv", (3,)), ("myo", (2,)), ("rv", (1,)))),
        lge_values=LabelValues((("lv", (1,)), ("myo", (2, 3, 4)), ("rv", (5,))), (6,), (3, 4)),
        structures=STRUCTURES,
        unlabelled=frozenset({("cine", "rv", "case_004"), ("lge", "rv", "case_004"), ("lge", "lv", "case_5")}),
        frame=0,
    )
    assert dataset.file == tmp_path / "dataset.toml"
    assert not dataset.in_challenge_layout
    assert dataset.unlabelled_of("case_5") == {("lge", "lv")}


def test_a_folder_without_a_description_has_the_challenge_s_layout(tmp_path):
    dataset = load_dataset(tmp_path)
    assert (dataset.cine_values, dataset.lge_values, dataset.frame) == (CHALLENGE_VALUES, CHALLENGE_VALUES, None)
    assert dataset.in_challenge_layout
    assert dataset.file is None
    (tmp_path / "dataset.toml").write_text('preset = "mscmrseg"\n')
    same = load_dataset(tmp_path)
    assert same.in_challenge_layout
    assert dict(same.cine_values.structures) == dict(CHALLENGE_VALUES.structures)


def test_a_description_elsewhere_is_used_instead_of_that_in_the_folder(tmp_path):
    (tmp_path / "dataset.toml").write_text("broken")
    (tmp_path / "other.toml").write_text('preset = "mscmrseg"\nname = "other"')
    assert load_dataset(tmp_path, tmp_path / "other.toml").name == "other"


STRUCTURES_OF = {
    "all with values": ("", LABELS, STRUCTURES),
    "fewer values": ("", "[labels]\nmyo = 1\nlv = 2\n", ("lv", "myo")),
    "what both scans have": ("", LABELS + "[labels.lge]\nlv = 1\nmyo = 2\n", ("lv", "myo")),
    "stated": ('structures = ["myo", "lv"]', LABELS, ("lv", "myo")),
    "stated, in one scan only": (
        'structures = ["rv", "lv"]',
        LABELS + "[labels.lge]\nlv = 1\nmyo = 2\n",
        ("lv", "rv"),
    ),
}


@pytest.mark.parametrize("name", STRUCTURES_OF)
def test_structures(described, name):
    stated, labels, expected = STRUCTURES_OF[name]
    assert described(stated + FILES + labels).structures == expected


def test_values_of_a_structure_that_is_left_out_count_as_background(described):
    dataset = described('structures = ["lv"]' + FILES + LABELS)
    assert dataset.lge_values == LabelValues((("lv", (1,)),), ignored=(6, 2, 3, 4, 5))


def test_presets_are_those_of_the_issue():
    assert presets() == ("acdc", "bids", "emidec", "mnms", "mscmrseg", "nnunet")


ADDED = {
    "acdc": '[files]\nlge = "lge/{id}.nii.gz"',
    "bids": "[labels]\nlv = 1\nmyo = 2",
    "emidec": '[files]\ncine = "cine/{id}.nii.gz"',
    "mnms": '[files]\nlge = "lge/{id}.nii.gz"',
    "mscmrseg": "",
    "nnunet": "[labels]\nlv = 1\nmyo = 2",
}
"""What a preset does not fix, and a description must add."""


@pytest.mark.parametrize("preset", ADDED)
def test_every_preset_needs_only_what_it_does_not_fix(described, preset):
    dataset = described(f'preset = "{preset}"\n{ADDED[preset]}\n')
    for role, pattern in preset_content(preset)["files"].items():
        assert dataset.patterns[role] == pattern
    assert dataset.structures[:2] == ("lv", "myo")


def test_every_key_of_a_preset_can_be_replaced_alone(described):
    changes = '[files]\nlge = "l/{id}.nii"\ncine = "c/{id}.nii"\n[labels]\nmyo = [2, 9]\n[cine]\nframe = 4\n'
    dataset = described(f'preset = "acdc"\n{changes}')
    assert dataset.cine_values.structures == (("lv", (3,)), ("myo", (2, 9)), ("rv", (1,)))
    assert dataset.patterns["cine"] == "c/{id}.nii"
    assert dataset.patterns["cine_label"] == preset_content("acdc")["files"]["cine_label"]
    assert dataset.frame == 4


VALUES = "[labels]\nlv = 1\nmyo = 2\nrv = 3\n"
BAD = {
    "unknown key": ("nmae = 3\n" + FILES + VALUES, ["nmae: must be a known key; did you mean name?, got 3"]),
    "unknown key far from any": ("zzz = 3\n" + FILES + VALUES, ["zzz: must be a known key; the keys are name, preset"]),
    "unknown key in a table": (FILES + "cin = 'x'\n" + VALUES, ["files.cin: must be a known key; did you mean cine?"]),
    "unknown structure": (FILES + VALUES + "la = 4\n", ["labels.la: must be a known key"]),
    "unknown key of a scan": (FILES + VALUES + "[labels.lge]\nmoy = 4\nlv = 1\n", ["labels.lge.moy: must be a known"]),
    "no table": ('files = "x"\n' + VALUES, ["files: must be a table", "files.cine: must be", "files.lge: must be"]),
    "no patient": (
        '[files]\ncine = "{id}.nii"\nlge = "lge.nii"\n',
        ["files.lge: must contain {id}, which stands for the patient, got 'lge.nii'"],
    ),
    "out of the folder": (
        '[files]\ncine = "/data/{id}.nii"\nlge = "../{id}.nii"\n',
        ["files.cine: must be a path relative to the folder", "files.lge: must not leave the folder"],
    ),
    "a pattern that is no text": ('[files]\ncine = 3\nlge = "{id}.nii"\n', ["files.cine: must be text, got 3"]),
    "no cine": ('[files]\nlge = "{id}.nii"\n', ["files.cine: must be a pattern of the scans' names"]),
    "no LGE": ('preset = "acdc"\n', ["files.lge: must be a pattern", "got none (preset acdc has none)"]),
    "one pattern for two scans": (
        '[files]\ncine = "{id}.nii"\nlge = "{id}.nii"\n',
        ["files.cine: must differ from files.lge, got '{id}.nii'", "files.lge: must differ from files.cine"],
    ),
    "a frame's number without a frame": (
        '[files]\ncine = "{id}_{ed}.nii"\nlge = "l_{id}.nii"\n',
        ["files.cine: must not have {ed} without [cine] frame"],
    ),
    "a value in two structures": (
        FILES + "[labels]\nlv = 1\nmyo = [1, 2]\nrv = 3\n",
        ["labels.myo: must not hold value 1 of labels.lv, got [1, 2]"],
    ),
    "a value that is ignored too": (
        FILES + VALUES + "ignore = [3]\n",
        ["labels.ignore: must not hold value 3 of labels.rv, got [3]"],
    ),
    "a value twice in a scan's own": (
        FILES + VALUES + "[labels.cine]\nlv = 7\nrv = 7\n",
        ["labels.cine.rv: must not hold value 7 of labels.cine.lv, got 7"],
    ),
    "background": (FILES + "[labels]\nlv = 0\nmyo = 2\n", ["labels.lv: must be a whole number", "got 0"]),
    "half a value": (FILES + "[labels]\nlv = 1.5\nmyo = 2\n", ["labels.lv: must be a whole number", "got 1.5"]),
    "true": (FILES + "[labels]\nlv = true\nmyo = 2\n", ["labels.lv: must be a whole number", "got True"]),
    "no values of a structure": (FILES + "[labels]\nlv = []\nmyo = 2\n", ["labels.lv: must be a whole number"]),
    "a large value": (FILES + "[labels]\nlv = 16777217\nmyo = 2\n", ["labels.lv: must be a whole number"]),
    "scar outside": (
        FILES + VALUES + "scar = [2, 8]\n",
        ["labels.scar: must be among the values of labels.myo, which lacks 8, got [2, 8]"],
    ),
    "no labels": (FILES, ["labels: must give the values of lv, myo, rv in files.cine_label and files.lge_label"]),
    "nothing in common": (
        FILES + "[labels.cine]\nrv = 1\n[labels.lge]\nlv = 1\n",
        ["labels: must give values of at least one structure in both scans"],
    ),
    "structures that are none": (
        'structures = ["la"]\n' + FILES + VALUES,
        ["structures: must be a list of one or more of lv, myo, rv, got ['la']"],
    ),
    "no structures": ("structures = []\n" + FILES + VALUES, ["structures: must be a list of one or more"]),
    "structures in a text": ('structures = "lv"\n' + FILES + VALUES, ["structures: must be a list", "got 'lv'"]),
    "structures in a table": ("structures = [{}]\n" + FILES + VALUES, ["structures: must be a list", "got [{}]"]),
    "structures without values": (
        'structures = ["rv"]\n' + FILES + "[labels]\nlv = 1\n",
        ["structures: must be structures with values in [labels], which has none of rv, got ['rv']"],
    ),
    "a negative frame": (FILES + VALUES + "[cine]\nframe = -1\n", ["cine.frame: must be a whole number", "got -1"]),
    "a frame in words": (FILES + VALUES + '[cine]\nframe = "es"\n', ["cine.frame: must be", "or \"ed\", got 'es'"]),
    "a frame that is a list": (FILES + VALUES + "[cine]\nframe = [0]\n", ["cine.frame: must be", "got [0]"]),
    "an unknown preset": (
        'preset = "adcc"\n' + FILES + VALUES,
        ["preset: must be one of acdc, bids", "did you mean acdc?, got 'adcc'"],
    ),
    "a preset that is no text": ("preset = [1]\n" + FILES + VALUES, ["preset: must be one of", "got [1]"]),
    "a preset that is a path": ('preset = "../x"\n' + FILES + VALUES, ["preset: must be one of", "got '../x'"]),
    "a name that is no text": ("name = 3\n" + FILES + VALUES, ["name: must be printable text", "got 3"]),
    "a long name": (f'name = "{"x" * 300}"\n' + FILES + VALUES, ["name: must be printable text of at most 200"]),
    "unlabelled numbers": (
        "unlabelled = {rv = [4]}\n" + FILES + VALUES,
        ['unlabelled.rv: must be a list of patients\' names, each a text such as "case_004", got [4]'],
    ),
    "unlabelled in no list": ('unlabelled.cine.rv = "a"\n' + FILES + VALUES, ["unlabelled.cine.rv: must be a list"]),
    "an unlabelled path": ('unlabelled = {rv = ["a/b"]}\n' + FILES + VALUES, ["unlabelled.rv: each name must hold"]),
    "no TOML": ("name = ", ["must be TOML"]),
    "nothing": ("", ["files.cine: must be a pattern", "files.lge: must be a pattern"]),
}


@pytest.mark.parametrize("name", BAD)
def test_every_error_names_file_key_rule_and_value(described, tmp_path, name):
    text, words = BAD[name]
    with pytest.raises(SettingsError) as caught:
        described(text)
    assert caught.value.exit_status == 2
    assert all(error.startswith(f"{tmp_path / 'dataset.toml'}: ") for error in caught.value.errors)
    for word in words:
        assert any(word in error for error in caught.value.errors), caught.value.errors
    assert len(caught.value.errors) <= len(words)


def test_all_errors_are_told_together(described):
    texts = [BAD[name][0] for name in ("no patient", "a negative frame")]
    with pytest.raises(SettingsError) as caught:
        described("nmae = 3\nstructures = []\n" + texts[0] + "[labels]\nlv = 1\nmyo = 1\n[cine]\nframe = -1\n")
    assert [error.split(": ")[1] for error in caught.value.errors] == [
        *("nmae", "files.lge", "labels.myo", "structures", "cine.frame")
    ]


@pytest.mark.parametrize("kind", ["folder", "broken link", "absent"])
def test_a_description_that_cannot_be_read_is_no_absent_one(tmp_path, kind):
    path, given = tmp_path / "dataset.toml", None
    if kind == "folder":
        path.mkdir()
    elif kind == "broken link":
        path.symlink_to(tmp_path / "nowhere")
    else:
        given = tmp_path / "mine.toml"
    with pytest.raises(SettingsError, match="must be a readable file"):
        load_dataset(tmp_path, given)
