"""The Pareto front of several metrics in the report: its trials, table, figure and sentence."""

import math
from dataclasses import replace
from datetime import UTC, datetime

import invented_search as invented
import numpy as np
import pytest

from jointnet.train.objective import Objective
from study.report import figures, page
from study.report.analysis import analyse
from study.report.headline import headline
from study.report.page import Heading, Pictures, Text
from study.report.search.front import front_of, front_sentence, front_table
from study.report.search.tradeoff import draw_tradeoff, tradeoff_alt, tradeoff_note
from study.report.sections import build
from study.report.sections.methods import conventions
from study.report.sections.search import search
from study.report.store.reader import _objective
from study.report.store.records import ArmRecord, StudyRecord

OVERLAP, ASD = Objective("val/dice/lv", "maximize"), Objective("val/asd_mm/lv")
TWO = Objective("val/cd_mm/lv", further=(OVERLAP,))
THREE = replace(TWO, further=(OVERLAP, ASD))
VALUES = [
    (2.0, 0.8, 1.0, "complete"),
    (1.0, 0.6, 1.0, "complete"),
    (2.5, 0.7, 0.5, "complete"),
    (3.0, 0.9, 1.0, "cut"),
    (0.5, 0.99, 0.1, "failed"),
    (4.0, math.nan, 1.0, "complete"),
    (math.nan, 0.95, 1.0, "running"),
]
"""LV CD, overlap and ASD of each trial, and how it ended. The second one wins."""


def _arm(objective: Objective, **changes: object) -> ArmRecord:
    trials = [
        invented.trial(
            number,
            value,
            how,
            parameters={"alpha": number / 10},
            validation={"val/dice/lv": overlap, "val/asd_mm/lv": asd, "val/cd_mm/lv": value},
        )
        for number, (value, overlap, asd, how) in enumerate(VALUES)
    ]
    return invented.arm(*trials, selected=1, ranked_by=objective, **changes)


def _study(*arms: ArmRecord) -> StudyRecord:
    parameters = {"alpha": {"low": 0.0, "high": 1.0}}
    specification = {
        "objective": arms[0].ranked_by.as_dict(),
        "searches": [{"name": "joint", "parameters": parameters}],
        "arms": [{"arm": arm.arm, "search": "joint"} for arm in arms],
    }
    begun = datetime(2026, 6, 1, tzinfo=UTC)
    return StudyRecord("s", "s", begun, 1.0, {}, specification, {}, arms[0].ranked_by, arms)


@pytest.mark.parametrize(("objective", "front"), [(TWO, ["t1", "t0", "t3"]), (THREE, ["t1", "t0", "t2", "t3"])])
def test_the_front_is_of_finished_trials_with_all_values_the_best_by_the_first_metric_first(objective, front):
    assert [trial.trial_id for trial in front_of(_arm(objective))] == front


def test_the_table_has_the_metrics_the_setting_and_the_winner():
    table = front_table(_study(_arm(TWO)))
    assert table.header == ("Trial", "Epoch", "LV CD (mm)", "LV overlap", "Setting")
    words = [[row.heading, *(cell.text for cell in row.cells)] for row in table.rows]
    assert words == [
        ["joint-25", "t1 (winner)", "3", "1.0000", "0.6000", "alpha 0.1"],
        ["joint-25", "t0", "3", "2.0000", "0.8000", "alpha 0"],
        ["joint-25", "t3", "3", "3.0000", "0.9000", "alpha 0.3"],
    ]
    assert [row.sources for row in table.rows] == [("run1",), ("run0",), ("run3",)]
    folds = front_table(_study(*(_arm(TWO, fold=fold, folds=2) for fold in (1, 2))))
    assert [row.heading for row in folds.rows] == ["joint-25, fold 1"] * 3 + ["joint-25, fold 2"] * 3


def test_the_answer_says_how_many_are_on_the_front_and_which_metric_chose():
    study = _study(_arm(TWO))
    sentence = "On the Pareto front of LV CD and LV overlap on validation: 3 of 7 trials of joint-25. "
    assert front_sentence(study) == f"{sentence}LV CD alone chooses the winner."
    assert front_sentence(study) in headline(study, analyse(study)).sentences
    two = front_sentence(_study(_arm(THREE), _arm(THREE, model="standalone", arm="standalone-25")))
    assert two.endswith("4 of 7 trials of joint-25, 4 of 7 trials of standalone-25. LV CD alone chooses the winners.")
    for one in (_study(_arm(Objective("val/cd_mm/lv"))), _study(invented.arm(ranked_by=TWO))):
        assert front_sentence(one) == "" == headline(one, analyse(one)).front


@pytest.mark.parametrize(
    ("metric", "direction", "where"), [("val/dice/lv", "maximize", "pre"), ("val/asd_mm/lv", "minimize", "post")]
)
def test_the_front_is_joined_by_steps_that_bound_what_it_dominates(metric: str, direction, where: str):
    arm = _arm(Objective("val/cd_mm/lv", further=(Objective(metric, direction),)))
    drawn = draw_tradeoff([arm])
    assert drawn is not None
    (line,) = [line for line in drawn.axes[0].lines if line.get_drawstyle() == f"steps-{where}"]
    front = sorted(front_of(arm), key=lambda trial: trial.validation[metric])
    x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    assert x.tolist() == [trial.validation[metric] for trial in front] and len(front) > 1
    assert y.tolist() == [trial.objective for trial in front]
    assert drawn.axes[0].get_ylabel() == "Validation LV CD (mm), lower is better"
    better = "higher" if direction == "maximize" else "lower"
    assert drawn.axes[0].get_xlabel().startswith("Validation LV ")
    assert drawn.axes[0].get_xlabel().endswith(f", {better} is better")
    # Between two trials of the front the best by the first metric is the one that is as good by the other.
    middle = (x[0] + x[1]) / 2
    known = [trial.objective for trial in front if (trial.validation[metric] >= middle) == (direction == "maximize")]
    assert min(known) == (y[1] if where == "pre" else y[0])


def test_three_metrics_have_a_panel_for_each_further_one_with_the_front_marked():
    drawn = draw_tradeoff([_arm(THREE)])
    assert drawn is not None and len(drawn.axes) == 2
    for axes, metric in zip(drawn.axes, ("val/dice/lv", "val/asd_mm/lv"), strict=True):
        (squares,) = [line for line in axes.lines if line.get_marker() == "s"]
        assert sorted(squares.get_xdata()) == sorted(one.validation[metric] for one in front_of(_arm(THREE)))
    assert "4 of them on the front, where none is better without another worse." in tradeoff_alt([_arm(THREE)])


def test_the_note_compares_the_winner_with_the_best_by_the_other_metric():
    assert tradeoff_note([_arm(TWO)]) == (
        "The selected trial has LV CD 1.000 mm at LV overlap 0.600; the one with the best LV overlap, 0.900, has LV CD "
        "3.000 mm."
    )
    alone = _arm(TWO)
    assert tradeoff_note([replace(alone, trials=alone.trials[1:2])]).endswith("; none has a better LV overlap.")
    assert tradeoff_note([invented.arm(ranked_by=TWO)]).startswith("The trade-off is not shown: the store has no")


def test_the_section_has_the_front_and_the_files_have_its_values():
    study = _study(_arm(TWO))
    analysis = analyse(study)
    section = search(study, analysis)
    place = section.blocks.index(Heading("Pareto front"))
    text, table, pictures = section.blocks[place + 1 : place + 4]
    assert text == Text(front_sentence(study)) and table == front_table(study)
    assert isinstance(pictures, Pictures) and [one.name for one in pictures.pictures] == ["search-joint-25-front"]
    assert len(figures.figure_bytes(pictures.pictures[0].draw(figures.DARK), "svg")) > 5000
    trials = section.frames["trials"]
    assert trials["front"].tolist() == [True, True, False, True, False, False, False]
    assert trials["val/dice/lv"].tolist()[:2] == [0.8, 0.6] and len(section.frames["front"]) == 3
    one = search(_study(_arm(Objective("val/cd_mm/lv"))), analysis)
    assert Heading("Pareto front") not in one.blocks and "front" not in {*one.frames, *one.frames["trials"]}
    (bullets,) = conventions(study, analysis).blocks
    assert any("The search also followed val/dice/lv (higher is better), for the" in line for line in bullets.lines)


def test_the_objective_of_a_specification_has_its_further_metrics():
    for objective in (TWO, THREE, OVERLAP):
        assert _objective({"searches": [{"metric": "x"}], "objective": objective.as_dict()}) == objective
    assert _objective({"searches": [{"objective": OVERLAP.as_dict()}]}) == OVERLAP  # an older one


def test_the_page_begins_with_the_front_beside_the_answer():
    study = _study(_arm(TWO))
    text = page.html(build(study), lambda picture, dark: "")
    assert 0 < text.index(f"<p>{front_sentence(study)}</p>") < text.index('<h2 id="contents">')
    one = page.html(build(_study(_arm(Objective("val/cd_mm/lv")))), lambda picture, dark: "")
    assert "Pareto" not in one
