import csv
import io
import json
import shutil

import pytest
from scans import pair, without, write_patient

from jointnet.data.folder import find_patients
from jointnet.errors import SettingsError
from jointnet.model_file import load_model
from jointnet.preparation.cache import fingerprint, prepare
from jointnet.settings import settings_from_dict
from jointnet.train import checkpoints as resume
from jointnet.train import loop as training
from jointnet.train.__main__ import main
from jointnet.train.command import EpochLog, draw_patients
from jointnet.train.objective import EpochReport

TINY = """
[model]
widths = [4, 8, 8]
hidden = 8
guide_steps = 2
[training]
downsampling = 4
epochs = 1
"""


@pytest.fixture
def tiny(tmp_path):
    path = tmp_path / "tiny.toml"
    path.write_text(TINY)
    return path


def run(data, out, tiny, *more, **changed):
    options = {"--data": data, "--model": "joint", "--train": 2, "--val": 1, "--out": out, "--settings": tiny}
    options |= {"--device": "cpu"} | {f"--{key}": value for key, value in changed.items()}
    return main([*(str(part) for item in options.items() for part in item), *map(str, more)])


@pytest.fixture
def own_scans(scan_folder, tmp_path):
    """A copy of the scans that a test may modify."""
    return shutil.copytree(scan_folder, tmp_path / "own scans")


def corrupt(folder, *numbers):
    for number in numbers:
        for path in folder.glob(f"patient{number}_*"):
            path.write_bytes(b"ruined")


def test_each_file_of_the_chosen_patients_is_parsed_and_hashed_once(own_scans, tmp_path, tiny, file_reads):
    assert run(own_scans, tmp_path / "out", tiny, cache=tmp_path / "cache") == 0
    chosen = {path.name: 1 for number in (1, 2, 3) for path in own_scans.glob(f"patient{number}_*")}
    assert len(chosen) == 12
    assert file_reads == (chosen, chosen)


@pytest.mark.parametrize("model", ["joint", "standalone"])
def test_a_training_leaves_model_config_and_log(scan_folder, tmp_path, tiny, model, capsys):
    out = tmp_path / "deeper" / "out"
    assert run(scan_folder, out, tiny, model=model, seed=3, epochs=2) == 0
    assert sorted(path.name for path in out.iterdir()) == ["config.json", "log.csv", "model.pt"]
    config = json.loads((out / "config.json").read_text())
    saved = load_model(out / "model.pt")
    assert settings_from_dict(config["settings"]) == saved.settings
    assert saved.settings.model.name == model
    assert saved.settings.training.epochs == 2
    assert config["seed"] == 3
    assert tuple(config["training"]) == saved.patients["training"]
    assert tuple(config["validation"]) == saved.patients["validation"]
    assert sorted([*config["training"], *config["validation"]]) == ["1", "2", "3"]
    used = find_patients(scan_folder)
    assert config["data_fingerprint"] == fingerprint(prepare([used[name] for name in ("1", "2", "3")]))
    rows = list(csv.DictReader((out / "log.csv").open()))
    assert list(rows[0]) == ["epoch", "seconds", "metric", "value"]
    assert {row["epoch"] for row in rows} == {"1", "2"}
    assert {"train/loss", "val/registration_ratio", "val/cd_mm/lv"} <= {row["metric"] for row in rows}
    shown = capsys.readouterr().out
    assert "epoch 2/2" in shown
    assert f"best epoch {saved.epoch}" in shown


def test_the_same_command_twice_gives_the_same_log(scan_folder, tmp_path, tiny):
    logs = []
    for name in ("first", "second"):
        assert run(scan_folder, tmp_path / name, tiny, seed=5) == 0
        rows = csv.DictReader((tmp_path / name / "log.csv").open())
        logs.append([(row["epoch"], row["metric"], row["value"]) for row in rows])
    assert logs[0] == logs[1]


@pytest.mark.parametrize("seed", [0, 1])
def test_patients_that_take_no_part_are_never_opened(own_scans, tmp_path, tiny, seed):
    corrupt(own_scans, 4, 5)
    assert run(own_scans, tmp_path / "out", tiny, seed=seed) == 0


def test_only_the_patients_named_take_part(own_scans, tmp_path, tiny):
    corrupt(own_scans, 1, 3)
    assert run(own_scans, tmp_path / "out", tiny, "--patients", "2,4-5") == 0
    saved = load_model(tmp_path / "out/model.pt")
    assert sorted(sum(saved.patients.values(), ())) == ["2", "4", "5"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"train": 0}, "--train"),
        ({"val": 0}, "--val"),
        ({"train": 5}, "at most the 5 patients"),
        ({"patients": "1-2"}, "at most the 2 patients"),
        ({"patients": "a/b"}, "--patients"),
        ({"patients": ""}, "--patients"),
        ({"epochs": 0}, "training.epochs"),
        ({"model": "descriptors"}, "descriptors, which needs no training: use it with `jointnet.predict --model desc"),
        ({"settings": "absent.toml"}, "absent.toml"),
        ({"seed": -1}, "--seed"),
        ({"device": "abacus"}, "--device"),
        ({"threads": -1}, "--threads"),
    ],
)
def test_bad_usage_is_2_and_trains_nothing(scan_folder, tmp_path, tiny, capsys, changes, words):
    assert run(scan_folder, tmp_path / "out", tiny, **changes) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert words in err
    assert not (tmp_path / "out" / "model.pt").exists()


@pytest.mark.parametrize("arguments", [[], ["--data", "x"], ["--model", "other"]])
def test_arguments_that_are_missing_or_unknown_are_2(arguments, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    capsys.readouterr()


def test_bad_settings_are_named_with_their_file(scan_folder, tmp_path, tiny, capsys):
    tiny.write_text(TINY + "[loss]\nalpha = 2\ngamma = 1\n")
    assert run(scan_folder, tmp_path / "out", tiny) == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert all(str(tiny) in line for line in errors)


def test_bad_data_is_3_with_every_error_and_trains_nothing(own_scans, tmp_path, tiny, capsys):
    corrupt(own_scans, 1)
    cine, lge = pair()
    cine.image[0, 0, 0] = float("nan")
    write_patient(own_scans, 2, cine, lge)
    assert run(own_scans, tmp_path / "out", tiny) == 3
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 5
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("data", ["absent", "empty"])
def test_no_data_is_3(tmp_path, tiny, data, capsys):
    (tmp_path / "empty").mkdir()
    assert run(tmp_path / data, tmp_path / "out", tiny) == 3
    assert str(tmp_path / data) in capsys.readouterr().err


def test_patients_that_are_not_there_are_named(scan_folder, tmp_path, tiny, capsys):
    assert run(scan_folder, tmp_path / "out", tiny, patients="4-7") in (2, 3)
    assert "[6, 7]" in capsys.readouterr().err


def test_a_training_that_diverges_is_1(scan_folder, tmp_path, tiny, capsys, monkeypatch):
    real = training.branch_losses
    monkeypatch.setattr(training, "branch_losses", lambda *a: {k: v * float("nan") for k, v in real(*a).items()})
    assert run(scan_folder, tmp_path / "out", tiny) == 1
    assert "finite" in capsys.readouterr().err
    assert not (tmp_path / "out/model.pt").exists()


def test_a_training_that_diverges_leaves_no_model_of_an_earlier_one(scan_folder, tmp_path, tiny, monkeypatch, capsys):
    """Otherwise model.pt would belong to another seed than the config beside it."""
    assert run(scan_folder, tmp_path / "out", tiny, seed=1) == 0
    real = training.branch_losses
    monkeypatch.setattr(training, "branch_losses", lambda *a: {k: v * float("nan") for k, v in real(*a).items()})
    assert run(scan_folder, tmp_path / "out", tiny, seed=2) == 1
    config = json.loads((tmp_path / "out/config.json").read_text())
    assert config["seed"] == 1 or not (tmp_path / "out/model.pt").exists()


# Selection of patients


@pytest.mark.parametrize("seed", range(5))
def test_a_draw_is_disjoint_complete_and_of_the_first_patients(seed):
    patients = ["9", "3", "1", "7", "12", "5"]
    trained, validated = draw_patients(patients, 3, 2, seed)
    assert (len(trained), len(validated)) == (3, 2)
    assert sorted(trained + validated) == ["1", "3", "5", "7", "9"]
    assert list(trained) == sorted(trained)
    assert draw_patients(patients[::-1], 3, 2, seed) == (trained, validated)


def test_numbers_are_drawn_as_before_names_were_texts():
    """These are the draws of earlier versions, which sorted and permuted integers."""
    assert draw_patients(list(map(str, range(1, 13))), 6, 4, 3) == (
        ("1", "2", "3", "5", "7", "10"),
        ("4", "6", "8", "9"),
    )


def test_the_seed_decides_who_validates():
    assert len({draw_patients(list(map(str, range(1, 21))), 15, 5, seed)[1] for seed in range(10)}) > 5


@pytest.mark.parametrize("seed", range(5))
def test_only_patients_of_whom_both_scans_are_labelled_validate(seed):
    patients = [str(number) for number in range(1, 9)]
    trained, validated = draw_patients(patients, 4, 2, seed, ["1", "3", "4"])
    assert {"1", "3", "4"} < set(trained)
    assert sorted(trained + validated) == patients[:6]
    with pytest.raises(SettingsError, match="--val: must be at most the 2 patients of whom both scans are labelled"):
        draw_patients(patients, 2, 3, seed, ["1", "3", "4"])
    with pytest.raises(SettingsError, match="--val: must be at most the 1 patient of whom both scans are labelled"):
        draw_patients(patients, 2, 2, seed, ["1", "3", "4"])


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("train_only", "incomplete", "validation", "validated"),
    [
        ([], [], 2, None),
        ([], ["2", "4"], 1, {"1", "3", "5"}),
        ([], ["2", "4"], 2, {"1", "3", "5"}),
        (["5"], ["1", "2", "3"], 1, {"4"}),
        ([], ["1", "2"], 4, {"1", "2", "3", "4", "5"}),
    ],
)
def test_patients_with_all_structures_validate_first_and_one_of_them_trains(
    seed, train_only, incomplete, validation, validated
):
    patients = [str(number) for number in range(1, 6)]
    drawn = draw_patients(patients, 5 - validation, validation, seed, train_only, incomplete)
    if validated is None:
        assert drawn == draw_patients(patients, 5 - validation, validation, seed)
        return
    assert set(drawn[1]) <= validated
    assert len(drawn[1]) == validation
    if len(set(patients) - {*train_only, *incomplete}) > 1:
        assert set(drawn[0]) - {*train_only, *incomplete}


@pytest.mark.parametrize(
    ("training_count", "validation_count", "errors"), [(0, 0, 2), (-1, 1, 1), (1, -1, 1), (5, 1, 1), (9, 0, 2)]
)
def test_counts_that_cannot_be_drawn_are_named_together(training_count, validation_count, errors):
    with pytest.raises(SettingsError) as caught:
        draw_patients(["1", "2", "3", "4", "5"], training_count, validation_count, 0)
    assert len(caught.value.errors) == errors


def test_the_log_has_one_header_and_a_row_per_metric(capsys):
    stream = io.StringIO()
    log = EpochLog(stream, 3)
    log(EpochReport(1, 60.0, {"train/loss": 0.5, "val/registration_ratio": 0.25}))
    log(EpochReport(2, 60.0, {"train/loss": 0.1}))
    assert stream.getvalue().splitlines() == [
        "epoch,seconds,metric,value",
        "1,60.000,train/loss,0.5",
        "1,60.000,val/registration_ratio,0.25",
        "2,60.000,train/loss,0.1",
    ]
    shown = capsys.readouterr().out.splitlines()
    assert "2.0 min left" in shown[0]
    assert "1.0 min left" in shown[1]
    assert "registration_ratio" not in shown[1]


def test_patients_without_manual_segmentations_take_part_by_a_teacher(own_scans, tmp_path, tiny, capsys):
    for path in own_scans.rglob("patient[45]_*_manual*"):
        path.unlink()
    assert run(own_scans, tmp_path / "teacher", tiny) == 3
    assert run(own_scans, tmp_path / "teacher", tiny, patients="1-3") == 0
    how = {"patients": "1-3", "unlabelled": 4, "teacher": tmp_path / "teacher"}
    assert run(own_scans, tmp_path / "out", tiny, **how) == 0
    assert "patient 4: pseudo-labels in " in capsys.readouterr().out
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert list(config["unlabelled"]) == ["4"]
    assert sorted(config["teacher"]["patients"]["training"] + config["teacher"]["patients"]["validation"]) == [
        "1",
        "2",
        "3",
    ]
    assert "4" not in config["training"] + config["validation"]
    patients = load_model(tmp_path / "out" / "model.pt").patients
    assert patients["training"] == (*config["training"], "4")
    assert patients["teacher"] == ("1", "2", "3")


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"unlabelled": 4}, "together"),
        ({"teacher": "nowhere"}, "together"),
        ({"unlabelled": "4-2", "teacher": "nowhere"}, "--unlabelled: a range must end with the larger number"),
        ({"unlabelled": 4, "teacher": "nowhere"}, "nowhere"),
    ],
)
def test_errors_of_weak_supervision_are_named(scan_folder, tmp_path, tiny, capsys, how, told):
    assert run(scan_folder, tmp_path / "out", tiny, **how) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_teacher_that_could_mislead_is_refused(scan_folder, tmp_path, tiny, capsys):
    """The teacher's own patients may not be pseudo-labelled or used for validation, and a teacher must segment."""
    teacher = tmp_path / "teacher"
    assert run(scan_folder, teacher, tiny, patients="1-3") == 0
    trained, validated = (load_model(teacher / "model.pt").patients[role] for role in ("training", "validation"))
    capsys.readouterr()
    assert run(scan_folder, teacher, tiny, patients="1,4,5", unlabelled="2-3", teacher=teacher) == 2
    told = capsys.readouterr().err
    assert "--teacher was not trained or validated on, got [2, 3]" in told
    assert "--out: must be another folder" in told
    others = {"train": 1, "val": 1, "patients": f"{trained[0]},{trained[1]}", "unlabelled": 4, "teacher": teacher}
    assert run(scan_folder, tmp_path / "out", tiny, **others) == 2
    assert "must not have been trained on validation patients" in capsys.readouterr().err
    assert run(scan_folder, tmp_path / "alone", tiny, model="standalone", patients="1-3") == 0
    assert run(scan_folder, tmp_path / "out", tiny, patients="1-3", unlabelled=4, teacher=tmp_path / "alone") == 2
    assert "must be a model that segments, got standalone" in capsys.readouterr().err
    assert validated


def test_a_patient_is_labelled_or_unlabelled(scan_folder, tmp_path, tiny, capsys):
    assert run(scan_folder, tmp_path / "teacher", tiny, patients="1-3") == 0
    how = {"unlabelled": 4, "teacher": tmp_path / "teacher", "patients": "1-4"}
    assert run(scan_folder, tmp_path / "out", tiny, **how) == 2
    assert "[4] in both" in capsys.readouterr().err


def test_the_same_command_continues_an_interrupted_training(scan_folder, tmp_path, tiny, monkeypatch, capsys):
    monkeypatch.setattr(resume, "SECONDS_BETWEEN", 0.0)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert run(scan_folder, whole, tiny, epochs=3) == 0
    real, calls = training.train_epoch, []

    def dying(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise SystemError("killed")
        return real(*arguments)

    with monkeypatch.context() as patch, pytest.raises(SystemError):
        patch.setattr(training, "train_epoch", dying)
        run(scan_folder, killed, tiny, epochs=3)
    capsys.readouterr()
    assert run(scan_folder, killed, tiny, epochs=3) == 0
    assert f"continuing after epoch 2 from {killed / 'checkpoints'}" in capsys.readouterr().out
    logs = [
        [(row["epoch"], row["metric"], row["value"]) for row in csv.DictReader((out / "log.csv").open())]
        for out in (whole, killed)
    ]
    assert logs[0] == logs[1]
    assert sorted(path.name for path in killed.iterdir()) == ["config.json", "log.csv", "model.pt"]


@pytest.mark.parametrize(("lacking", "parts"), [((2,), ["--train"]), ((1, 2), ["--train", "--val"])])
def test_a_structure_that_no_patient_of_a_part_shows_is_named_before_anything_is_trained(
    tmp_path, capsys, lacking, parts
):
    """Some of two patients show no RV in LGE. One who shows it is used for validation, with every seed."""
    for number in (1, 2):
        cine, lge = pair(seed=number, lge_shift_mm=(4.8, 3.6))
        write_patient(tmp_path / "scans", number, cine, without(lge, "rv") if number in lacking else lge)
    options = ["--data", str(tmp_path / "scans"), "--model", "joint", "--train", "1", "--val", "1", "--epochs", "1"]
    for seed in (0, 1, 2):
        assert main([*options, "--seed", str(seed), "--out", str(tmp_path / "out")]) == 3
        error = capsys.readouterr().err
        assert error.count("error: ") == len(parts)
        for part in parts:
            assert (
                f"error: {part}: patients must show rv in both segmentations of a slice, wholly in the common field; "
                "no slice of patient "
            ) in error
    assert not (tmp_path / "out").exists()
