"""A study as the MLflow store holds it, read into plain records: all that the report knows of MLflow."""

import json
import math
import os
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow import MlflowClient

from jointnet.faults import InputFaultError
from study.reporting.records import ArmRecord, RetrainRecord, StudyRecord, TrialRecord
from study.store_layout import BEST, EXPERIMENT, OBJECTIVE, is_plain_name

REPORT_ARTIFACTS = "report"
_INFINITY = 1e300  # MLflow writes an infinity as 1.8e308


def study_ids(tracking_uri: str) -> list[str]:
    """Give the ids of the studies in the store, newest first.

    Raises:
        InputFaultError: where the store does not exist, or holds no study.
    """
    client = _open(tracking_uri)
    runs = _runs(client, tracking_uri, "tags.`study.kind` = 'study'")
    ids = [name for run in runs if is_plain_name(name := run.data.tags.get("study.id", ""))]
    if not ids:
        raise InputFaultError(f"{tracking_uri}: holds no study; run `python -m study.run` first")
    return ids


def read_study(tracking_uri: str, study_id: str) -> StudyRecord:
    """Read one study, its arms and their trials.

    Raises:
        InputFaultError: where the store does not exist, or does not hold `study_id`.
    """
    known = study_ids(tracking_uri)
    if study_id not in known:
        raise InputFaultError(f"study {study_id!r}: not in {tracking_uri}, which holds {', '.join(known)}")
    client = _open(tracking_uri)
    runs = _runs(client, tracking_uri, f"tags.`study.id` = '{study_id}'")
    if strange := [arm for run in runs if not is_plain_name(arm := run.data.tags.get("arm", "none"))]:
        raise InputFaultError(
            f"study {study_id!r}: must have arms with plain names, {tracking_uri} holds {strange[:3]}"
        )
    kinds: dict[str, list[Any]] = {"study": [], "arm": [], "trial": [], "retrain": []}
    for run in runs:
        kinds.setdefault(run.data.tags.get("study.kind", ""), []).append(run)
    top = kinds["study"][0]
    files = _artifacts(client, top.info.run_id, ("specification.json", "splits.json"))
    specification = _json(files.get("specification.json"))
    metric = str(_find(specification, "metric") or OBJECTIVE)
    direction = str(_find(specification, "direction") or "minimize")
    parts = kinds["trial"], kinds["retrain"]
    arms = [_arm(client, run, *parts, metric, direction) for run in _newest_per_arm(kinds["arm"])]
    return StudyRecord(
        run_id=top.info.run_id,
        study_id=study_id,
        started=_moment(top.info.start_time),
        minutes=_minutes([top, *kinds["arm"], *kinds["trial"], *kinds["retrain"]]),
        tags=dict(top.data.tags),
        specification=specification,
        splits=_json(files.get("splits.json")),
        metric=metric,
        direction=direction,
        arms=tuple(sorted(arms, key=_arm_order)),
        tracking_uri=_absolute(tracking_uri),
        experiment=str(top.info.experiment_id),
    )


def log_report(tracking_uri: str, run_id: str, folder: Path) -> None:
    """Copy the report's folder to the artifacts of the study's own run, under `report/`."""
    _open(tracking_uri).log_artifacts(run_id, str(folder), REPORT_ARTIFACTS)


def read_report(tracking_uri: str, run_id: str) -> dict[str, bytes]:
    """Give the files of the report that the study's own run holds, by name; none where none was copied there."""
    client = _open(tracking_uri)
    listed = [item.path for item in client.list_artifacts(run_id, REPORT_ARTIFACTS) if not item.is_dir]
    if not listed:
        return {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(client.download_artifacts(run_id, REPORT_ARTIFACTS, scratch))
        return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def best_value(history: Sequence[tuple[int, float]], direction: str) -> tuple[float, int, int]:
    """Give the best finite value, its epoch and the number of epochs of `(epoch, value)` pairs, oldest first.

    A resumed trial repeats epochs: the later value of an epoch counts.
    """
    values = {epoch: value for epoch, value in history if math.isfinite(value) and abs(value) < _INFINITY}
    if not values:
        return math.nan, 0, 0
    sign = -1.0 if direction == "maximize" else 1.0
    epoch = min(values, key=lambda key: (sign * values[key], key))
    return values[epoch], epoch, len(values)


def _open(tracking_uri: str) -> MlflowClient:
    """Give a client for a store that exists: opening an SQLite path that does not would create it."""
    if tracking_uri.startswith("sqlite:///"):
        path = Path(tracking_uri.removeprefix("sqlite:///"))
        if not path.is_file():
            raise InputFaultError(f"{path}: no such tracking store; give --tracking-uri or run `python -m study.run`")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # one bar per file would bury the table
    try:
        client = MlflowClient(tracking_uri)
        client.search_experiments(max_results=1)
    except Exception as error:  # whatever the store's own backend raises where it is none, or cannot be reached
        reason = " ".join(str(error).split())[:200]
        raise InputFaultError(f"{tracking_uri}: must be a tracking store that answers: {reason}") from None
    return client


def _runs(client: MlflowClient, tracking_uri: str, condition: str) -> list[Any]:
    """Give the study experiment's runs that meet `condition`, newest first."""
    experiment = client.get_experiment_by_name(EXPERIMENT)
    if experiment is None:
        raise InputFaultError(f"{tracking_uri}: has no experiment {EXPERIMENT!r}; run `python -m study.run` first")
    found: list[Any] = []
    token = None
    while True:
        page = client.search_runs(
            [experiment.experiment_id], condition, max_results=1000, order_by=["start_time DESC"], page_token=token
        )
        found.extend(page)
        token = page.token
        if not token:
            return found


def _newest_per_arm(runs: Sequence[Any]) -> list[Any]:
    """Give one run per arm and fold, the newest; `runs` come newest first."""
    newest: dict[tuple[str, int], Any] = {}
    for run in runs:
        newest.setdefault((run.data.tags["arm"], int(run.data.tags.get("fold", "1"))), run)
    return list(newest.values())


def _arm(
    client: MlflowClient, run: Any, trials: Sequence[Any], retrains: Sequence[Any], metric: str, direction: str
) -> ArmRecord:
    """Read one arm with its trials, the retrainings of its selected trial, and whatever artifacts it has so far."""
    tags: dict[str, str] = dict(run.data.tags)
    files = _artifacts(client, run.info.run_id, ("selection.json", "test/slices.csv", "test/overlays.npz"))
    counts = [int(part) for part in tags.get("split", "").split("/") if part.isdigit()]
    train, validation, test = counts if len(counts) == 3 else (0, 0, 0)
    records = [_trial(client, trial, metric, direction) for trial in trials if _is_child(trial, run)]
    selection = _json(files["selection.json"]) if "selection.json" in files else None
    winner = (selection or {}).get("trial_id")
    again = [r for r in retrains if _is_child(r, run) and r.data.tags.get("retrain.of", winner) == winner]
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
        openings=int(tags.get("test.openings", "0")),
        minutes=_minutes([run]),
        fold=int(tags.get("fold", "1")),
        folds=int(tags.get("folds", "1")),
        retrains=tuple(
            sorted((_retrain(client, each, metric, direction) for each in again), key=lambda each: each.seed_index)
        ),
    )


def _is_child(run: Any, parent: Any) -> bool:
    return bool(run.data.tags.get("mlflow.parentRunId") == parent.info.run_id)


def _retrain(client: MlflowClient, run: Any, metric: str, direction: str) -> RetrainRecord:
    """Read one retraining, which is a trial with a seed of its own."""
    trial, tags = _trial(client, run, metric, direction), run.data.tags
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


def _trial(client: MlflowClient, run: Any, metric: str, direction: str) -> TrialRecord:
    """Read one trial; its history is fetched only where the objective was logged at all."""
    tags, info = run.data.tags, run.info
    history = client.get_metric_history(info.run_id, metric) if metric in run.data.metrics else []
    ordered = sorted(history, key=lambda point: (point.timestamp, point.step))
    objective, epoch, epochs = best_value([(point.step, point.value) for point in ordered], direction)
    state = tags.get("trial.state", "running")
    if state == "running" and info.status in ("KILLED", "FAILED", "FINISHED"):
        state = "failed" if info.status == "FAILED" else "interrupted"
    return TrialRecord(
        run_id=info.run_id,
        trial_id=tags.get("trial.id", info.run_id),
        state=state,
        reason=tags.get("trial.reason", ""),
        parameters={name: _number(value) for name, value in run.data.params.items()},
        objective=objective,
        best_epoch=epoch,
        epochs=epochs,
        started=_moment(info.start_time),
        minutes=_minutes([run]),
        validation={
            name.removeprefix(BEST): value for name, value in run.data.metrics.items() if name.startswith(BEST)
        },
    )


def _artifacts(client: MlflowClient, run_id: str, wanted: Sequence[str]) -> dict[str, Any]:
    """Read those of the wanted artifacts that exist: text of JSON, table of CSV, arrays of NPZ."""
    folders = {path.rpartition("/")[0] for path in wanted}
    present = {item.path for folder in folders for item in client.list_artifacts(run_id, folder or None)}
    contents: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for path in (path for path in wanted if path in present):
            local = Path(client.download_artifacts(run_id, path, scratch))
            if path.endswith(".csv"):
                contents[path] = pd.read_csv(local)
            elif path.endswith(".npz"):
                with np.load(local, allow_pickle=False) as arrays:
                    contents[path] = dict(arrays)
            else:
                contents[path] = local.read_text(encoding="utf-8")
    return contents


def _arm_order(arm: ArmRecord) -> tuple[bool, str, int, int]:
    """Order as in the paper's Table 1: stand-alone before joint, then by training patients, then by fold."""
    return (arm.model != "standalone", arm.model, arm.train, arm.fold)


def _find(content: Any, key: str) -> Any:
    """Give the first value under `key` anywhere in nested JSON, None where there is none."""
    if isinstance(content, Mapping):
        if key in content:
            return content[key]
        content = list(content.values())
    if isinstance(content, list):
        return next((value for part in content if (value := _find(part, key)) is not None), None)
    return None


def _absolute(tracking_uri: str) -> str:
    """Give a store's address so that it holds from any folder."""
    if not tracking_uri.startswith("sqlite:///"):
        return tracking_uri
    return f"sqlite:///{Path(tracking_uri.removeprefix('sqlite:///')).absolute()}"


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
    """Give the minutes from the first run's start to the last end among `runs`; NaN where none has ended."""
    ends = [run.info.end_time for run in runs if run.info.end_time]
    return (max(ends) - runs[0].info.start_time) / 60000 if ends else math.nan
