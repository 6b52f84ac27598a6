"""Files that a study writes before its session begins."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from plans import plan_of

from jointnet.errors import DataError
from study.plan.identity import SPECIFICATION_FILE, with_identity
from study.plan.plan import Plan
from study.run import conduct as conduct_module
from study.run.conduct import conduct


class KilledError(BaseException):
    """The driver was killed. No exception handler of the driver catches it."""


def _ends_with(error: BaseException, seen: list[bool], plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(*_: object) -> None:
        seen.append((plan.folder / SPECIFICATION_FILE).is_file())
        raise error

    monkeypatch.setattr(conduct_module, "_prepare", prepare)
    with pytest.raises(type(error)):
        conduct(plan, {})


def test_a_study_has_its_specification_before_it_prepares_and_so_keeps_its_id_when_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    plan, seen = plan_of(out=tmp_path), list[bool]()
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)  # a killed driver removes nothing
    _ends_with(KilledError(), seen, plan, monkeypatch)
    monkeypatch.undo()
    assert seen == [True]
    later = replace(plan, study_id="", started=plan.started + timedelta(hours=1))
    again = with_identity(later)
    assert again.study_id == plan.study_id
    assert again.continues


def test_of_a_study_that_is_refused_before_its_session_nothing_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plan, seen = plan_of(out=tmp_path), list[bool]()
    _ends_with(DataError("scan: must be sound"), seen, plan, monkeypatch)
    assert seen == [True]
    assert not plan.folder.exists()
