"""The Python interface: what `import jointnet` costs, and the errors of its functions. The docs run all of them."""

import json
import subprocess
import sys

import pytest
from scans import file_paths, pair, tiny_settings, write_patient

import jointnet
from jointnet.errors import DataError, InputError, SettingsError
from jointnet.evaluate.aggregation import summarise
from jointnet.model_file import load_model


@pytest.fixture
def folder(tmp_path):
    for number in (1, 2, 3):
        write_patient(tmp_path / "scans", number, *pair(seed=number, lge_shift_mm=(4.8, 3.6)))
    return tmp_path / "scans"


@pytest.fixture
def patients(folder, tmp_path):
    return jointnet.load_folder(folder, cache=tmp_path / "cache")


def test_names_are_imported_when_first_used():
    program = (
        "import json, sys, jointnet; heavy = lambda: sorted({'torch', 'pandas', 'nibabel'} & set(sys.modules)); "
        "early = heavy(); jointnet.load_model; print(json.dumps([early, heavy()]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    early, late = json.loads(done.stdout)
    assert early == [] and "torch" in late


def test_the_names_are_listed_and_others_refused():
    assert set(jointnet.__all__) <= set(dir(jointnet))
    assert all(callable(getattr(jointnet, name)) for name in jointnet.__all__)
    assert jointnet.summarise is summarise
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        jointnet.trian  # noqa: B018


def test_all_errors_of_a_folder_come_together(folder, tmp_path):
    file_paths(folder, 2)["lge_label"].unlink()
    file_paths(folder, 3)["cine"].write_bytes(b"ruined")
    with pytest.raises(DataError) as raised:
        jointnet.load_folder(folder, cache=tmp_path / "cache")
    assert len(raised.value.errors) == 2
    with pytest.raises(DataError) as raised:
        jointnet.load_folder(folder, patients=[1, 2, 7], cache=tmp_path / "cache")
    assert raised.value.errors == (
        f"{folder}: patient 2 lacks patient2_LGE_manual.nii.gz; if nobody drew it, describe the folder "
        f"(python -m jointnet.data init {folder} --write); add or remove the patient",
        "patients [7] must be in the folder, which holds [1]",
    )
    table, errors = jointnet.check_folder(folder)
    assert list(table.index) == ["1", "2", "3"] and len(errors) == 2


def test_a_training_refuses_what_it_cannot_learn_from_or_measure(patients, tmp_path):
    with pytest.raises(DataError) as raised:
        jointnet.train_model([], patients[:1], settings=tiny_settings())
    assert "training: patients must show lv and myo and rv" in raised.value.errors[0]
    with pytest.raises(DataError) as raised:
        jointnet.train_model(patients[:2], patients[1:], settings=tiny_settings())
    assert raised.value.errors == ("validation: must be other patients than training, got [2] in both",)
    with pytest.raises(
        SettingsError, match=r"model\.name: .* one of descriptors, standalone, joint, or own code as .*, got 'resnet'"
    ):
        jointnet.train_model(patients[:2], patients[2:], model="resnet", settings=tiny_settings())
    with pytest.raises(SettingsError, match=r"model\.name: must be a model that is trained .* got descriptors, which"):
        jointnet.train_model(patients[:2], patients[2:], model="descriptors", settings=tiny_settings())
    with pytest.raises(SettingsError, match=r"training\.epochs: must be a whole number between 1 and 100000, got 0"):
        jointnet.train_model(patients[:2], patients[2:], epochs=0)


def test_a_training_keeps_its_model_only_where_asked(patients, tmp_path):
    epochs = []
    kept = jointnet.train_model(
        patients[:2], patients[2:], settings=tiny_settings(), epochs=1, device="cpu", out=tmp_path / "out",
        on_epoch=lambda report: epochs.append(report.epoch),
    )  # fmt: skip
    assert epochs == [1] and kept.patients == {"training": ("1", "2"), "validation": ("3",)}
    same = jointnet.load_model(tmp_path / "out")
    assert same.settings == kept.settings == load_model(tmp_path / "out/model.pt").settings
    rows = jointnet.evaluate_model(None, patients)
    assert (rows["before"].isna() | (rows["before"] == rows["after"])).all()
    with pytest.raises(InputError, match="there is no such file"):
        jointnet.load_model(tmp_path / "absent")


def test_images_alone_are_registered_without_a_training(patients, folder, tmp_path):
    """LGE is displaced by (4.8, 3.6) mm."""
    model = jointnet.load_model("descriptors")
    assert model.patients == {} and not list(model.model.parameters())
    assert jointnet.registration_ratio(jointnet.evaluate_model(model, patients)) < 0.5
    paths = file_paths(folder, 1)
    plain = jointnet.predict_pair(model, paths["cine"], paths["lge"])
    assert plain.summary["displacement_mm"] == pytest.approx(6, abs=1) and plain.summary["dice_after"] == ""
    middle = plain.registration.grid.frame[:3, 3]
    pointed = jointnet.predict_pair(model, paths["cine"], paths["lge"], heart=middle + 10)
    assert pointed.summary["displacement_mm"] != plain.summary["displacement_mm"]
    with pytest.raises(SettingsError, match="--heart: must be a point within 84 mm"):
        jointnet.predict_pair(model, paths["cine"], paths["lge"], heart=middle + 900)


def test_a_training_that_ends_early_leaves_no_earlier_model(patients, tmp_path):
    def stop(report):
        raise KeyboardInterrupt

    (tmp_path / "model.pt").write_bytes(b"earlier")
    settings = tiny_settings(training__validate_every=2)
    with pytest.raises(KeyboardInterrupt):
        jointnet.train_model(
            patients[:2], patients[2:], settings=settings, epochs=2, device="cpu", out=tmp_path, on_epoch=stop
        )
    assert not (tmp_path / "model.pt").exists()
