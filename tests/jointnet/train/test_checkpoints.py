"""On a CPU, a training that is killed and resumed gives bitwise the same result as one without interruption."""

import errno
import math
from pathlib import Path

import pytest
import torch
from scans import easy_patients, tiny_settings

from jointnet.model_path import MODEL_FILE
from jointnet.system import atomic_file
from jointnet.system.atomic_file import write_whole
from jointnet.train import checkpoints as resume
from jointnet.train import loop as training
from jointnet.train.checkpoint_files import KEPT, checkpoint_files
from jointnet.train.checkpoints import Checkpoints
from jointnet.train.loop import train
from jointnet.train.objective import REGISTRATION_RATIO, EpochReport

EPOCHS = 5


class KilledError(Exception):
    pass


@pytest.fixture(autouse=True)
def after_every_epoch(monkeypatch):
    monkeypatch.setattr(resume, "SECONDS_BETWEEN", 0.0)


@pytest.fixture(scope="module")
def patients(tmp_path_factory):
    return easy_patients(tmp_path_factory.mktemp("prepared"), 3)


def settings(**changes):
    quick = {"training__epochs": EPOCHS, "training__batch_size": 2, "optimiser__learning_rate": 1e-2}
    return tiny_settings(**(quick | changes))


def run(where: Path, patients, changes=None, seed=0, kill_after=None, resumed=None):
    where.mkdir(exist_ok=True)
    reports: list[EpochReport] = []

    def on_epoch(report):
        reports.append(report)
        if report.epoch == kill_after:
            raise KilledError

    train(
        settings(**(changes or {})),
        patients[:2],
        patients[2:],
        seed=seed,
        device="cpu",
        out=where,
        checkpoints=where / "checkpoints",
        on_epoch=on_epoch,
        on_resume=None if resumed is None else resumed.append,
    )
    return reports


def everything(where: Path):
    """Return all tensors and values of a training's last checkpoint and model."""
    newest = checkpoint_files(where / "checkpoints")[0]
    found = {}

    def flatten(name, value):
        if isinstance(value, dict):
            for key, part in value.items():
                flatten(f"{name}/{key}", part)
        elif isinstance(value, list | tuple):
            for index, part in enumerate(value):
                flatten(f"{name}/{index}", part)
        elif not name.endswith("/seconds"):
            found[name] = value

    flatten("checkpoint", torch.load(newest, weights_only=True))
    flatten("model", torch.load(where / MODEL_FILE, weights_only=True))
    return found


def assert_same(left, right):
    assert set(left) == set(right)
    for name, value in left.items():
        same = torch.equal(value, right[name]) if isinstance(value, torch.Tensor) else value == right[name]
        assert same, name


@pytest.mark.parametrize(
    "changes",
    [
        {"model__name": "standalone"},
        {"model__head": "guided"},
        {"model__name": "standalone", "training__steps": 9, "training__batch_size": 3},  # ends within a pass
        {"model__head": "fully_connected", "optimiser__schedule": "step", "training__validate_every": 2},
    ],
)
def test_killed_after_any_epoch_and_resumed_equals_uninterrupted_bit_for_bit(patients, tmp_path, changes):
    whole = run(tmp_path / "whole", patients, changes)
    torch.manual_seed(99)  # the caller's random state has no effect
    for epoch in (1, 3):
        with pytest.raises(KilledError):
            run(tmp_path / "killed", patients, changes, kill_after=epoch)
    resumed: list[int] = []
    again = run(tmp_path / "killed", patients, changes, resumed=resumed)
    assert resumed == [3]
    assert [report.epoch for report in again] == [1, 2, 3, 4, 5]
    assert [report.metrics for report in again] == [report.metrics for report in whole]
    assert_same(everything(tmp_path / "killed"), everything(tmp_path / "whole"))
    assert (
        REGISTRATION_RATIO.best(again).epoch == torch.load(tmp_path / "killed" / MODEL_FILE, weights_only=True)["epoch"]
    )


def test_between_validations_a_checkpoint_is_written_where_one_is_due_only(patients, tmp_path, monkeypatch):
    changes = {"training__validate_every": 2}
    whole = run(tmp_path / "whole", patients, changes)
    assert [path.name for path in checkpoint_files(tmp_path / "whole/checkpoints")] == [
        "epoch-000005.pt",
        "epoch-000004.pt",
    ]
    monkeypatch.setattr(resume, "SECONDS_BETWEEN", math.inf)
    for epoch, newest in ((1, []), (3, ["epoch-000002.pt"])):
        with pytest.raises(KilledError):
            run(tmp_path / "killed", patients, changes, kill_after=epoch)
        assert [path.name for path in checkpoint_files(tmp_path / "killed/checkpoints")] == newest
    resumed: list[int] = []
    again = run(tmp_path / "killed", patients, changes, resumed=resumed)
    assert resumed == [2]
    assert [(report.epoch, report.metrics) for report in again] == [(report.epoch, report.metrics) for report in whole]
    assert_same(everything(tmp_path / "killed"), everything(tmp_path / "whole"))


def test_a_checkpoint_is_due_some_seconds_after_the_last_one(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(resume, "SECONDS_BETWEEN", 10.0)
    monkeypatch.setattr(resume.time, "monotonic", lambda: now[0])
    checkpoints = Checkpoints(tmp_path, {}, {}, torch.Generator())
    for seconds, due in ((0.0, False), (9.0, False), (1.0, True), (5.0, True)):
        now[0] += seconds
        assert checkpoints.due is due
    checkpoints.save(1, {})
    assert not checkpoints.due


@pytest.mark.parametrize("damaged", [1, 2])
@pytest.mark.parametrize("how", ["empty", "cut", "other"])
def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(patients, tmp_path, damaged, how):
    changes = {"model__name": "standalone"}
    whole = run(tmp_path / "whole", patients, changes)
    with pytest.raises(KilledError):
        run(tmp_path / "killed", patients, changes, kill_after=4)
    files = checkpoint_files(tmp_path / "killed/checkpoints")
    assert [path.name for path in files] == ["epoch-000004.pt", "epoch-000003.pt"] and len(files) == KEPT
    for path in files[:damaged]:
        content = path.read_bytes()
        path.write_bytes({"empty": b"", "cut": content[: len(content) // 2], "other": b"no checkpoint"}[how])
    resumed: list[int] = []
    again = run(tmp_path / "killed", patients, changes, resumed=resumed)
    assert resumed == ([3] if damaged == 1 else [])
    assert [report.metrics for report in again] == [report.metrics for report in whole]
    assert_same(everything(tmp_path / "killed"), everything(tmp_path / "whole"))


def test_a_training_that_was_over_only_reports_again(patients, tmp_path, monkeypatch):
    whole = run(tmp_path / "whole", patients)
    (tmp_path / "whole" / MODEL_FILE).unlink()
    monkeypatch.setattr(training, "train_epoch", lambda *a: pytest.fail("trained again"))
    assert run(tmp_path / "whole", patients) == whole
    assert (tmp_path / "whole" / MODEL_FILE).is_file()


def test_a_checkpoint_of_another_training_is_not_used(patients, tmp_path):
    changes = {"model__name": "standalone"}
    with pytest.raises(KilledError):
        run(tmp_path / "a", patients, changes, seed=1, kill_after=4)
    resumed: list[int] = []
    run(tmp_path / "a", patients, changes, seed=0, resumed=resumed)
    assert resumed == []
    run(tmp_path / "b", patients, changes, seed=0)
    assert_same(everything(tmp_path / "a"), everything(tmp_path / "b"))


def test_a_full_disk_is_an_os_error_and_leaves_what_was_there(tmp_path, monkeypatch):
    model = torch.nn.Linear(2, 2)
    checkpoints = Checkpoints(tmp_path / "own", {}, {"model": model}, torch.Generator())
    checkpoints.save(1, {"note": 1})

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic_file.os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(2, {"note": 2})
    assert [path.name for path in (tmp_path / "own").iterdir()] == ["epoch-000001.pt"]
    assert checkpoints.restore() == (1, {"note": 1})


def test_what_a_killed_process_left_half_written_is_removed(tmp_path):
    checkpoints = Checkpoints(tmp_path, {}, {}, torch.Generator())
    (tmp_path / ".epoch-000007.pt.999.part").write_bytes(b"half")
    assert checkpoints.restore() == (0, {})
    checkpoints.save(1, {})
    assert [path.name for path in tmp_path.iterdir()] == ["epoch-000001.pt"]


def test_the_random_numbers_go_on_where_they_were(tmp_path):
    generator = torch.Generator().manual_seed(5)
    checkpoints = Checkpoints(tmp_path, {}, {}, generator)
    checkpoints.save(1, {})
    expected = torch.rand(3), torch.rand(3, generator=generator)
    checkpoints.restore()
    assert torch.equal(torch.rand(3), expected[0]) and torch.equal(torch.rand(3, generator=generator), expected[1])


def test_a_file_that_cannot_be_written_stays_as_it_was(tmp_path):
    write_whole(tmp_path / "a", b"one")
    write_whole(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"two"
    with pytest.raises(OSError, match="none"):
        write_whole(tmp_path / "none" / "a", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_training_is_resumed_on_a_gpu_that_computes_in_other_16_bits(patients, tmp_path, monkeypatch):
    """Only fp16 has a gradient scaler, whose state a checkpoint of a training in bf16 lacks."""
    changes, resumed = {"model__name": "standalone", "training__epochs": 3}, []
    for precision, kill_after in ((torch.bfloat16, 1), (torch.float16, 2)):
        monkeypatch.setattr(training, "training_precision", lambda device, own=precision: own)
        with pytest.raises(KilledError):
            run(tmp_path, patients, changes, kill_after=kill_after, resumed=resumed)
    monkeypatch.setattr(training, "training_precision", lambda device: torch.bfloat16)
    assert [report.epoch for report in run(tmp_path, patients, changes, resumed=resumed)] == [1, 2, 3]
    assert resumed == [1, 2]
