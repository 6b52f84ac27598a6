"""Measure a model on a folder: `python -m jointnet.evaluate --data DIR --model identity|PATH --out rows.csv`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from jointnet.data.cache import prepare
from jointnet.data.folder import scan_folder, select
from jointnet.errors import SettingsError
from jointnet.evaluate.aggregation import registration_ratio, summarise
from jointnet.evaluate.measurable import measurable, unmeasurable
from jointnet.evaluate.rows import evaluate
from jointnet.model_file import load_model
from jointnet.system.atomic_file import write_whole
from jointnet.system.commands import parse_patients, run_command
from jointnet.train.loop import MODEL_FILE, model_file, resolve_device

WRITTEN_COLUMNS = ["patient", "slice", "structure", "metric", "before", "after"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 0 done, 2 invalid usage, 3 invalid data."""
    parser = argparse.ArgumentParser(prog="python -m jointnet.evaluate", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder in the layout of MS-CMRSeg 2019")
    parser.add_argument(
        "--model", required=True, help=f"`identity` does nothing; or a {MODEL_FILE}, or the folder that holds it"
    )
    parser.add_argument("--patients", metavar="26-35", help="these only; all of the folder's by default")
    parser.add_argument(
        "--out", type=Path, required=True, help="CSV that receives a row per slice, structure and metric"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1 ...")
    parser.add_argument("--cache", type=Path, help="where prepared patients are kept")
    options = parser.parse_args(arguments)
    return run_command(lambda: _evaluate(options))


def table(rows: pd.DataFrame) -> str:
    """Return a text table of the mean (SD) over patients before and after registration."""
    lines = [f"{'metric':<12}{'structure':<11}{'before':>16}{'after':>16}{'patients':>10}"]
    for row in summarise(rows).reset_index().to_dict("records"):
        cells = [
            ""
            if pd.isna(row[f"{when}_mean"])
            else f"{row[f'{when}_mean']:.3f}" + ("" if pd.isna(row[f"{when}_sd"]) else f" ({row[f'{when}_sd']:.3f})")
            for when in ("before", "after")
        ]
        lines.append(f"{row['metric']:<12}{row['structure']:<11}{cells[0]:>16}{cells[1]:>16}{row['patients']:>10.0f}")
    return "\n".join(lines)


def _evaluate(options: argparse.Namespace) -> None:
    if options.out.suffix != ".csv":
        raise SettingsError(f"--out: must be a file whose name ends in .csv, got {options.out}")
    device = resolve_device(options.device)
    saved = None if options.model == "identity" else load_model(model_file(Path(options.model)), device)
    chosen = parse_patients(options.patients) if options.patients is not None else None
    found, errors = scan_folder(options.data, only=chosen)
    wanted = tuple(found) if chosen is None else chosen
    cached = prepare(select(found, wanted), options.cache, known_errors=errors)
    rows = evaluate(saved.model if saved else None, cached, device)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(options.out, rows[WRITTEN_COLUMNS].to_csv(index=False).encode())
    print(table(rows))
    lost = int(rows.loc[rows["lost"], ["patient", "slice", "structure"]].drop_duplicates().shape[0])
    print(
        f"registration ratio {registration_ratio(rows):.3f} (1 is no better than doing nothing); lost structures {lost}"
    )
    shown = {item.patient: measurable(item.labels()) for item in cached}
    missing = unmeasurable("--patients: the patients", shown, "measured")
    for warning in (*missing, *(saved.known(wanted) if saved else ())):
        print(f"warning: {warning}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
