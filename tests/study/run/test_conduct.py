"""Files that a study writes before its session begins, and errors for parts of splits that cannot be used."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from plans import plan_of
from simulation import space

from jointnet.errors import DataError
from jointnet.evaluate.aggregation import ENDPOINTS
from study.plan.identity import SPECIFICATION_FILE, with_identity
from study.plan.plan import Plan, make_arms
from study.plan.splits import make_folds
from study.run import conduct as conduct_module
from study.run.conduct import conduct, split_errors
from study.search.file.split_counts import parse_counts


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


ALL = dict.fromkeys(ENDPOINTS, True)
NO_RV = {endpoint: True for endpoint in ENDPOINTS if endpoint[1] != "rv"}


def leave_one_out(counts: str) -> Plan:
    """Return a plan of five folds of five patients, with one test patient per fold."""
    dealt = make_folds(["1", "2", "3", "4", "5"], 5, parse_counts([counts], test_optional=True), 0)
    arms = [make_arms([space()], splits, fold=fold, folds=5) for fold, splits in enumerate(dealt, 1)]
    return replace(plan_of(), arms=tuple(arm for fold in arms for arm in fold))


def test_the_test_patients_of_all_folds_count_together_and_the_others_fold_by_fold():
    shown = {name: NO_RV if name == "1" else ALL for name in ("1", "2", "3", "4", "5")}
    assert split_errors(leave_one_out("2/2"), shown) == []
    errors = split_errors(leave_one_out("1/1"), shown)
    assert sorted(error.split(": ")[1].split(" ")[0] for error in errors) == ["training", "validation"]
    assert all(
        error.startswith("--splits fold-") and "show rv " in error and " slice of patient 1 does" in error
        for error in errors
    )
    errors = split_errors(leave_one_out("2/2"), dict.fromkeys(["1", "2", "3", "4", "5"], NO_RV))
    assert len(errors) == 5 + 5 + 1
    assert errors[-1].startswith(
        "--splits: test patients must show rv in both segmentations of a slice, wholly in the common field; "
        "no slice of patients 1, 2, 3, 4, 5 does"
    )
