"""What the command `jointnet.evaluate` does: measure a model on a folder, write the rows and print the means."""

import argparse
import sys

import pandas as pd

from jointnet.compute.device import resolve_device
from jointnet.data.description import load_dataset
from jointnet.data.folder import scan_folder, select
from jointnet.data.patient_roles import roles_of
from jointnet.errors import DataError, SettingsError
from jointnet.evaluate.aggregation import measured_endpoints, ratio_text, registration_ratio, summarise
from jointnet.evaluate.metrics import defined_metrics, undefined_metric_errors
from jointnet.evaluate.rows import cut_structure_rows, evaluate
from jointnet.model_file import open_model
from jointnet.patient_names import names_text, parse_patients
from jointnet.preparation.cache import prepare
from jointnet.preparation.counted_structures import left_out_text
from jointnet.system.atomic_file import write_whole

WRITTEN_COLUMNS = ["patient", "slice", "structure", "metric", "before", "after"]


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


def evaluate_folder(options: argparse.Namespace) -> None:
    """Evaluate a model, or no registration at all, on a folder of scans.

    Raises:
        SettingsError: with invalid options.
        DataError: with all errors of the scans.
    """
    if options.out.suffix != ".csv":
        raise SettingsError(f"--out: must be a file whose name ends in .csv, got {options.out}")
    device = resolve_device(options.device)
    saved = None if options.model == "identity" else open_model(options.model, device, allow_code=options.allow_code)
    chosen = parse_patients(options.patients) if options.patients is not None else None
    dataset = load_dataset(options.data, options.dataset)
    scans, errors = scan_folder(options.data, only=chosen, dataset=dataset)
    files = select(scans, tuple(scans) if chosen is None else chosen, errors)
    wanted = roles_of(files, dataset.structures).whole
    if files and not wanted:
        names = names_text(item.patient for item in files)
        errors.append(
            f"{options.data}: must hold a patient with a structure labelled in both scans, got none of {names}"
        )
        raise DataError(errors)
    cached = prepare([item for item in files if item.patient in wanted], options.cache, known_errors=errors)
    rows = evaluate(saved.model if saved else None, cached, device)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_whole(options.out, rows[WRITTEN_COLUMNS].to_csv(index=False).encode())
    print(table(rows))
    lost = int(rows.loc[rows["lost"], ["patient", "slice", "structure"]].drop_duplicates().shape[0])
    print(f"registration ratio {registration_ratio(rows):.3f} (1 is no improvement); lost structures {lost}")
    print(f"ratio: {ratio_text(measured_endpoints(rows))}")
    if left := [item.patient for item in files if item.patient not in wanted]:
        print(f"not measured, because not both scans are labelled: {names_text(left)}")
    if len(cut := cut_structure_rows(cached)):
        print(left_out_text(len(cut), cut["patient"].nunique()))
    defined = {item.patient: defined_metrics(item.labels(), item.field()) for item in cached}
    missing = undefined_metric_errors("--patients: the patients", defined, "measured", dataset.structures)
    for warning in (*missing, *(saved.seen_patient_warnings(wanted) if saved else ())):
        print(f"warning: {warning}", file=sys.stderr)
