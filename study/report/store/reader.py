"""Reader of a study from the tracking store into the records that the report is made from."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from jointnet.errors import InputError
from jointnet.models import MODELS
from jointnet.train.objective import OBJECTIVE, Direction, EpochReport, Objective
from study.arm_differences import NOTHING_SEARCHED, WEIGHTS
from study.report.store.mlflow_store import MlflowStore
from study.report.store.records import ArmRecord, BaselineRecord, RetrainRecord, StudyRecord, TrialRecord
from study.store_names import OPENINGS_TAG, SELECTED_TAG, SPLIT_TAG, best_metrics, is_plain_name

FIRST_LOOKS = ("standalone", "joint")
"""The methods whose colours are the same in all reports."""
_INFINITY = 1e300  # MLflow writes an infinity as 1.8e308


def study_ids(tracking_uri: str) -> list[str]:
    """Return the ids of the studies in the store, newest first.

    Raises:
        InputError: where the store does not exist, or holds no study.
    """
    with MlflowStore(tracking_uri) as store:
        return _study_ids(store)


def read_study(tracking_uri: str, study_id: str) -> StudyRecord:
    """Read one study, its arms and their trials.

    Raises:
        InputError: where the store does not exist, does not hold `study_id`, or lacks a file that a tag promises.
    """
    with MlflowStore(tracking_uri) as store:
        ids = _study_ids(store)
        if study_id not in ids:
            raise InputError(f"study {study_id!r}: not in {store}, which holds {', '.join(ids)}")
        runs = store.runs(f"tags.`study.id` = '{study_id}'")
        if unsafe := [arm for run in runs if not is_plain_name(arm := run.data.tags.get("arm", "none"))]:
            raise InputError(f"study {study_id!r}: must have arms with plain names, {store} holds {unsafe[:3]}")
        return _study(store, study_id, runs)


def _study_ids(store: MlflowStore) -> list[str]:
    runs = store.runs("tags.`study.kind` = 'study'")
    ids = [name for run in runs if is_plain_name(name := run.data.tags.get("study.id", ""))]
    if not ids:
        raise InputError(f"{store}: holds no study; run `python -m study.run` first")
    return ids


def _study(store: MlflowStore, study_id: str, runs: Sequence[Any]) -> StudyRecord:
    """Read a study from its runs, newest first."""
    kinds: dict[str, list[Any]] = {"study": [], "arm": [], "baseline": [], "trial": [], "retrain": []}
    for run in runs:
        kinds.setdefault(run.data.tags.get("study.kind", ""), []).append(run)
    top = kinds["study"][0]
    paths = ("specification.json", "splits.json")
    has_splits = any(name.startswith(f"{SPLIT_TAG}.") for name in top.data.tags)
    files = store.artifacts(top, paths, paths if has_splits else ())
    specification = _json(files.get("specification.json"))
    objective = _objective(specification)
    arms = [
        _arm(store, run, kinds["trial"], kinds["retrain"], objective) for run in _newest_per_fold(kinds["arm"], "arm")
    ]
    return StudyRecord(
        run_id=top.info.run_id,
        study_id=study_id,
        started=_moment(top.info.start_time),
        minutes=_minutes([top, *kinds["arm"], *kinds["trial"], *kinds["retrain"]]),
        tags=dict(top.data.tags),
        specification=specification,
        splits=_json(files.get("splits.json")),
        objective=objective,
        arms=_ordered(arms, [entry["arm"] for entry in specification.get("arms", []) if "arm" in entry]),
        tracking_uri=store.address,
        experiment=str(top.info.experiment_id),
        baselines=tuple(_baseline(store, run) for run in _newest_per_fold(kinds["baseline"], "baseline")),
    )


def best_value(history: Sequence[tuple[int, float]], objective: Objective) -> tuple[float, int, int]:
    """Return the best finite value, its epoch, and the number of epochs with a finite value; NaN, 0 and 0 for none.

    The rule is the one by which the training keeps a model, so the epoch is that of the trial's model.

    Args:
        history: pairs of epoch and value, oldest first. A resumed trial repeats epochs; the later value counts.
        objective: the objective of the study.
    """
    values = {epoch: value for epoch, value in history if math.isfinite(value) and abs(value) < _INFINITY}
    best = objective.best(
        EpochReport(epoch, math.nan, {objective.metric: value}) for epoch, value in sorted(values.items())
    )
    return (math.nan, 0, 0) if best is None else (values[best.epoch], best.epoch, len(values))


def _newest_per_fold(runs: Sequence[Any], tag: str) -> list[Any]:
    """Return the newest run of each value of a tag and fold; `runs` are sorted, newest first."""
    newest: dict[tuple[str, int], Any] = {}
    for run in runs:
        newest.setdefault((run.data.tags[tag], int(run.data.tags.get("fold", "1"))), run)
    return list(newest.values())


def _baseline(store: MlflowStore, run: Any) -> BaselineRecord:
    """Read one baseline. Its fingerprint is the tag that is set after its files."""
    tags: dict[str, str] = dict(run.data.tags)
    path = "test/slices.csv"
    rows = store.artifacts(run, (path,), (path,) if "test.fingerprint" in tags else ()).get(path)
    return BaselineRecord(
        run.info.run_id, tags["baseline"], rows, int(tags.get("fold", "1")), int(tags.get("folds", "1"))
    )


def _arm(
    store: MlflowStore, run: Any, trials: Sequence[Any], retrains: Sequence[Any], objective: Objective
) -> ArmRecord:
    """Read one arm with its trials, the retrainings of its selected trial, and the artifacts stored so far."""
    tags: dict[str, str] = dict(run.data.tags)
    selected, tested = ("selection.json",), ("test/slices.csv", "test/overlays.npz")
    promised = (*(selected if SELECTED_TAG in tags else ()), *(tested if OPENINGS_TAG in tags else ()))
    files = store.artifacts(run, (*selected, *tested), promised)
    counts = [int(part) for part in tags.get("split", "").split("/") if part.isdigit()]
    train, validation, test = counts if len(counts) == 3 else (0, 0, 0)
    records = [_trial(store, trial, objective) for trial in trials if _is_child(trial, run)]
    selection = _json(files["selection.json"]) if "selection.json" in files else None
    winner = (selection or {}).get("trial_id")
    retrainings = [
        _retrain(store, each, objective)
        for each in retrains
        if _is_child(each, run) and each.data.tags.get("retrain.of", winner) == winner
    ]
    return ArmRecord(
        run_id=run.info.run_id,
        arm=tags["arm"],
        model=str(tags.get("model", tags["arm"])),
        train=train,
        validation=validation,
        test=test,
        tags=tags,
        trials=tuple(sorted(records, key=lambda trial: (trial.started, trial.trial_id))),
        selection=selection,
        rows=files.get("test/slices.csv"),
        overlays=files.get("test/overlays.npz", {}),
        metrics=dict(run.data.metrics),
        openings=int(tags.get(OPENINGS_TAG, "0")),
        minutes=_minutes([run]),
        fold=int(tags.get("fold", "1")),
        folds=int(tags.get("folds", "1")),
        retrains=tuple(sorted(retrainings, key=lambda each: each.seed_index)),
        given=_given(run.data.params, records),
        ranked_by=objective,
    )


def _given(params: Mapping[str, str], trials: Sequence[TrialRecord]) -> dict[str, str]:
    """Return what an arm was given. The search of an arm with at most one trial had nothing to choose.

    In studies of older versions an arm whose model does not segment lacks the searched loss weights.
    """
    if not params:
        return {}
    return {WEIGHTS: "none", **params, **(NOTHING_SEARCHED if sum(trial.finished for trial in trials) < 2 else {})}


def _is_child(run: Any, parent: Any) -> bool:
    return bool(run.data.tags.get("mlflow.parentRunId") == parent.info.run_id)


def _retrain(store: MlflowStore, run: Any, objective: Objective) -> RetrainRecord:
    """Read one retraining, which is stored like a trial with its own seed."""
    trial, tags = _trial(store, run, objective), run.data.tags
    return RetrainRecord(
        run_id=trial.run_id,
        seed_index=int(tags["retrain.seed_index"]),
        seed=int(tags["seed"]),
        objective=trial.objective,
        best_epoch=trial.best_epoch,
        epochs=trial.epochs,
        minutes=trial.minutes,
        state=trial.state,
    )


def _trial(store: MlflowStore, run: Any, objective: Objective) -> TrialRecord:
    """Read one trial. The history is requested only where the objective was logged."""
    tags, info = run.data.tags, run.info
    history = store.history(info.run_id, objective.metric) if objective.metric in run.data.metrics else []
    value, epoch, epochs = best_value(history, objective)
    state = tags.get("trial.state", "running")
    if state == "running" and info.status in ("KILLED", "FAILED", "FINISHED"):
        state = "failed" if info.status == "FAILED" else "interrupted"
    return TrialRecord(
        run_id=info.run_id,
        trial_id=tags.get("trial.id", info.run_id),
        state=state,
        reason=tags.get("trial.reason", ""),
        parameters={name: _number(value) for name, value in run.data.params.items()},
        objective=value,
        best_epoch=epoch,
        epochs=epochs,
        started=_moment(info.start_time),
        minutes=_minutes([run]),
        validation=best_metrics(run.data.metrics),
    )


def _ordered(arms: Sequence[ArmRecord], planned: Sequence[str]) -> tuple[ArmRecord, ...]:
    """Return the arms in the order of the paper's Table 1, each with the look of its method.

    Stand-alone methods come before joint ones, methods of the same model in the order of the plan, then training
    patients, then folds.
    """
    models, plan = list(MODELS), list(dict.fromkeys(planned))

    def first_place(method: str) -> int:
        return min(plan.index(arm.arm) if arm.arm in plan else len(plan) for arm in arms if arm.method == method)

    places = {arm.method: first_place(arm.method) for arm in arms}

    def order(arm: ArmRecord) -> tuple[object, ...]:
        known = models.index(arm.model) if arm.model in models else len(models)
        return (known, arm.model, arm.method != arm.model, places[arm.method], arm.method, arm.train, arm.fold)

    ordered = sorted(arms, key=order)
    looks = {name: number for number, name in enumerate(FIRST_LOOKS)}
    for arm in ordered:
        looks.setdefault(arm.method, len(looks))
    return tuple(replace(arm, look=looks[arm.method]) for arm in ordered)


def _objective(specification: Mapping[str, Any]) -> Objective:
    """Return the objective of a specification; in older ones it stands at another depth, or is not named."""
    if isinstance(specification.get("objective"), Mapping):
        return Objective.from_dict(specification["objective"])
    direction: Direction = "maximize" if _find(specification, "direction") == "maximize" else "minimize"
    return Objective(str(_find(specification, "metric") or OBJECTIVE), direction)


def _find(content: Any, key: str) -> Any:
    """Return the first value of `key` at any depth of nested JSON; None where there is none."""
    if isinstance(content, Mapping):
        if key in content:
            return content[key]
        content = list(content.values())
    if isinstance(content, list):
        return next((value for part in content if (value := _find(part, key)) is not None), None)
    return None


def _json(text: str | None) -> dict[str, Any]:
    return json.loads(text) if text else {}


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)


def _minutes(runs: Sequence[Any]) -> float:
    """Return the minutes from the start of `runs[0]` to the last end of any run; NaN where none has ended."""
    ends = [run.info.end_time for run in runs if run.info.end_time]
    return (max(ends) - runs[0].info.start_time) / 60000 if ends else math.nan
