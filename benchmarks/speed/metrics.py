"""Time CD, ASD and Dice of a 224 x 224 slice pair with three structures, ours against MONAI's.

    pip install -e '.[benchmark]'
    python benchmarks/speed/metrics.py [--pairs 20] [--repeats 11]

Both compute from the same label maps: a ring (myocardium) around a disc (LV) beside an ellipse (RV), the moving one
displaced by known amounts. MONAI computes ASD (`compute_average_surface_distance`, symmetric) and Dice
(`compute_dice`); it has no distance of centroids. One thread. The difference in mm is the largest over all pairs and
structures.
"""

import sys

import numpy as np
import torch
from numpy.typing import NDArray
from timing import Figure, create_parser, in_turn, print_figures, ratios

from jointnet.common_grid import PIXEL_MM, SIZE_PX
from jointnet.evaluate.metrics import overlap_metrics
from jointnet.structures import CLASS_INDEX, STRUCTURES

LEAST_RATIO = 10
MOST_DIFFERENCE_MM = 0.001
SHIFT_MM = 3

Labels = NDArray[np.uint8]
Values = dict[tuple[str, str], float]


def main() -> None:
    """Measure and print the figures."""
    parser = create_parser(__doc__, repeats=11)
    parser.add_argument("--pairs", type=int, default=20, help="slice pairs of a turn")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(options.seed)
    pairs = [(heart(*rng.normal(0, SHIFT_MM, 2)), heart(*rng.normal(0, SHIFT_MM, 2))) for _ in range(options.pairs)]
    measures = {"jointnet": overlap_metrics, "MONAI": monai_metrics}
    functions = {name: lambda measure=measure: [measure(*pair) for pair in pairs] for name, measure in measures.items()}
    seconds = in_turn(functions, options.repeats)
    milliseconds = {name: tuple(each * 1e3 / len(pairs) for each in times) for name, times in seconds.items()}
    figures = [Figure(f"{name}, a slice pair", times, "ms") for name, times in milliseconds.items()]
    figures.append(Figure("MONAI / jointnet", ratios(seconds["MONAI"], seconds["jointnet"]), "x", least=LEAST_RATIO))
    differences = [
        abs(overlap_metrics(*pair)[key] - value)
        for pair in pairs
        for key, value in monai_metrics(*pair).items()
        if key[0] != "dice"
    ]
    figures.append(Figure("largest difference from MONAI", (max(differences),), "mm", most=MOST_DIFFERENCE_MM))
    print_figures(figures, options, pairs=options.pairs, seed=options.seed)


def heart(column_mm: float, row_mm: float) -> Labels:
    """Return a label map (224, 224) of a heart whose LV centre has this offset from the middle of the field."""
    centres_mm = (np.arange(SIZE_PX) - (SIZE_PX - 1) / 2) * PIXEL_MM
    x, y = np.meshgrid(centres_mm - column_mm, centres_mm - row_mm)
    radius = np.hypot(x, y)
    labels = np.zeros((SIZE_PX, SIZE_PX), np.uint8)
    labels[((x + 42) / 18) ** 2 + ((y - 8) / 30) ** 2 < 1] = CLASS_INDEX["rv"]
    labels[radius < 32] = CLASS_INDEX["myo"]
    labels[radius < 23] = CLASS_INDEX["lv"]
    return labels


def monai_metrics(fixed: Labels, moving: Labels) -> Values:
    """Return ASD and Dice computed by MONAI, all structures in one call."""
    try:
        from monai.metrics import compute_average_surface_distance, compute_dice
    except ImportError:
        sys.exit("MONAI is not installed: pip install -e '.[benchmark]'")

    masks = [
        torch.from_numpy(np.stack([labels == CLASS_INDEX[name] for name in STRUCTURES]))[None]
        for labels in (fixed, moving)
    ]
    distances = compute_average_surface_distance(*masks, include_background=True, symmetric=True, spacing=PIXEL_MM)
    overlaps = compute_dice(masks[0].float(), masks[1].float())
    return {("asd_mm", name): float(distances[0, index]) for index, name in enumerate(STRUCTURES)} | {
        ("dice", name): float(overlaps[0, index]) for index, name in enumerate(STRUCTURES)
    }


if __name__ == "__main__":
    main()
