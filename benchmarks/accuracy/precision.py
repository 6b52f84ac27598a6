"""What validating in bf16, as trainings do where the processor has it, changes of a model's metrics.

    python benchmarks/accuracy/precision.py --model DIR --data DIR --patients 16-25

Evaluates one model on the same patients in 32 bits and in bf16 and prints, for every metric that a validation logs,
both values and their difference, and for every metric the mean and the largest change of a slice. A processor without
bf16 computes it slowly, and alike.
"""

import argparse
from pathlib import Path

import pandas as pd
import torch

from jointnet.data.cache import prepare
from jointnet.data.folder import find_patients, select
from jointnet.evaluate.aggregation import named_metrics
from jointnet.evaluate.rows import evaluate
from jointnet.model_file import load_model
from jointnet.model_path import model_file
from jointnet.system.commands import parse_patients


def main() -> None:
    """Evaluate in both precisions and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, required=True, help="a model file, or the folder that holds it")
    parser.add_argument("--data", type=Path, required=True, help="folder of scans")
    parser.add_argument("--patients", type=parse_patients, required=True, help="whom the model was not trained on")
    options = parser.parse_args()
    model = load_model(model_file(options.model)).model
    patients = prepare(select(find_patients(options.data), options.patients))
    full, half = (evaluate(model, patients, precision=each) for each in (torch.float32, torch.bfloat16))
    print(means(full, half).to_string(float_format="{:.4f}".format))
    print()
    print(by_slice(full, half).to_string(float_format="{:.4f}".format))


def means(full: pd.DataFrame, half: pd.DataFrame) -> pd.DataFrame:
    """Return every validation metric in 32 bits and in bf16, and the change."""
    table = pd.DataFrame({"32 bits": named_metrics(full, "val"), "bf16": named_metrics(half, "val")})
    return table.assign(change=table["bf16"] - table["32 bits"])


def by_slice(full: pd.DataFrame, half: pd.DataFrame) -> pd.DataFrame:
    """Return the mean and the largest absolute change over slices and structures, by metric."""
    changes = (half["after"] - full["after"]).abs().groupby(full["metric"])
    return pd.DataFrame({"mean change": changes.mean(), "largest": changes.max()})


if __name__ == "__main__":
    main()
