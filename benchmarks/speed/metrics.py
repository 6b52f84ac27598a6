"""Time CD, ASD and Dice of a 224 x 224 slice pair with three structures, ours against MONAI's.

python benchmarks/speed/metrics.py [--repeats 5]

Both answer for the same label maps: a ring (myocardium) around a disc (LV) beside an ellipse (RV), the moving one moved
by known amounts. One thread. MONAI is a test dependency; without it only ours is timed.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from jointnet.geometry import PIXEL_MM, SIZE_PX
from jointnet.metrics import overlap_metrics
from jointnet.structures import CODE, STRUCTURES

PAIRS = 20


def heart(column_mm: float, row_mm: float) -> np.ndarray:
    """Give a label map (224, 224) of a heart whose LV centre lies that far off the middle of the field."""
    centres_mm = (np.arange(SIZE_PX) - (SIZE_PX - 1) / 2) * PIXEL_MM
    x, y = np.meshgrid(centres_mm - column_mm, centres_mm - row_mm)
    radius = np.hypot(x, y)
    labels = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    labels[((x + 42) / 18) ** 2 + ((y - 8) / 30) ** 2 < 1] = CODE["rv"]
    labels[radius < 32] = CODE["myo"]
    labels[radius < 23] = CODE["lv"]
    return labels


def milliseconds(function: Callable[[], object], repeats: int) -> list[float]:
    """Time a function over all pairs, once to warm up and then `repeats` times, per pair."""
    function()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append((time.perf_counter() - started) * 1e3 / PAIRS)
    return times


def main() -> None:
    """Print the median and the range of both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    pairs = [(heart(*rng.normal(0, 3, 2)), heart(*rng.normal(0, 3, 2))) for _ in range(PAIRS)]
    timed = {"jointnet": milliseconds(lambda: [overlap_metrics(*pair) for pair in pairs], options.repeats)}
    try:
        from monai.metrics import compute_average_surface_distance, compute_dice
    except ImportError:
        print("MONAI is not installed; only ours is timed")
    else:

        def monai() -> None:
            for pair in pairs:
                one_hot = [
                    torch.from_numpy(np.stack([label == CODE[name] for name in STRUCTURES]))[None] for label in pair
                ]
                compute_average_surface_distance(
                    one_hot[0], one_hot[1], include_background=True, symmetric=True, spacing=PIXEL_MM
                )
                compute_dice(one_hot[0].float(), one_hot[1].float())

        timed["MONAI (ASD and Dice)"] = milliseconds(monai, options.repeats)
    for name, times in timed.items():
        print(f"{name:22} {statistics.median(times):6.2f} ms a pair ({min(times):.2f} to {max(times):.2f})")


if __name__ == "__main__":
    main()
