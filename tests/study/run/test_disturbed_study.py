"""A short fault injection test: a real driver is killed twice and a checkpoint is damaged once."""

import random
from pathlib import Path

import pytest
from disturbed_study import SEARCH, DisturbedStudy, differences, wait_for

from jointnet.train.objective import OBJECTIVE


def _end(study: DisturbedStudy) -> None:
    assert wait_for(study, lambda s: s.ended() is not None, 600)
    assert study.ended() == 0, study.log.read_text()[-3000:]


@pytest.mark.slow
def test_a_driver_killed_twice_and_a_damaged_checkpoint_leave_what_an_undisturbed_twin_has(
    tmp_path: Path, empty_store: str
):
    (tmp_path / "faults.toml").write_text(SEARCH)
    twin, study = (DisturbedStudy(tmp_path, name, 0, empty_store) for name in ("twin", "disturbed"))
    twin.start()
    _end(twin)
    study.start()
    assert wait_for(study, lambda s: s.epochs() >= 2, 600)
    assert study.corrupt_checkpoint(random.Random(0))
    study.start()
    assert wait_for(study, lambda s: s.epochs() >= 6, 600)
    assert study.kill_driver()
    study.driver.wait()
    study.clear()
    study.start()
    _end(study)
    assert study.starts == 3
    assert set(differences(study, twin).values()) == {0}
    assert len(study.outcomes()) == 3
    assert all(outcome.is_final and OBJECTIVE in outcome.metrics for outcome in study.outcomes().values())
    assert not list(study.out.rglob("checkpoints"))
