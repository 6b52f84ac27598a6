"""How long a report takes: an invented study of many trials and test patients is written, reported and verified.

python benchmarks/speed/report.py --trials 200 --patients 45
"""

import argparse
import logging
import math
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "study"))

import synthetic_store as synthetic

from study.report.write import verify_report, write_report
from study.store_address import sqlite_address
from study.store_names import EARLY

EPOCHS, EARLY_EPOCHS = 30, 6
ARMS = (
    ("joint", "35/5/5", 0.5),
    ("joint", "25/15/5", 0.6),
    ("standalone", "35/5/5", 0.75),
    ("standalone", "25/15/5", 0.9),
)


def main() -> None:
    """Measure and print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=200, help="of all four arms together")
    parser.add_argument("--patients", type=int, default=45, help="test patients")
    parser.add_argument("--slices", type=int, default=15, help="of a patient, and up to two more")
    options = parser.parse_args()
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        uri = sqlite_address(folder / "mlflow.db")
        patients = range(1, options.patients + 1)
        rows = {
            f"{model}-{split[:2]}": synthetic.slice_rows(gain, model == "joint", patients, options.slices)
            for model, split, gain in ARMS
        }
        arms = [
            synthetic.Arm(model, split, _trials(options.trials // len(ARMS), gain), gain, 0)
            for model, split, gain in ARMS
        ]
        synthetic.write_study(uri, "study", arms, folder, rows)
        for what, act in (("report", write_report), ("verify", verify_report)):
            wall, cpu = time.perf_counter(), time.process_time()
            act(uri, "study", folder / "report")
            print(f"{what}: {time.perf_counter() - wall:.1f} s, {time.process_time() - cpu:.1f} s of CPU")
        print(f"page: {(folder / 'report' / 'report.html').stat().st_size / 1e6:.1f} MB")


def _trials(count: int, level: float) -> tuple[synthetic.Trial, ...]:
    """Return synthetic trials, of which every third is complete."""
    found = []
    for number in range(count):
        epochs = EPOCHS if number % 3 == 0 else EARLY_EPOCHS
        best = level + 0.2 * ((number * 0.618) % 1)
        history = tuple((epoch, best + 0.4 * math.exp(-epoch / 8)) for epoch in range(1, epochs + 1))
        state, reason = ("complete", "") if epochs == EPOCHS else ("stopped", EARLY)
        found.append(synthetic.Trial(state, history, reason))
    return tuple(found)


if __name__ == "__main__":
    main()
