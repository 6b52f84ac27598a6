"""Time CD, ASD and Dice of a 224 x 224 slice pair with three structures, ours against what others offer.

    python benchmarks/speed/metrics.py --out runs/speed/metrics.json

All answer for the same label maps: a ring (myocardium) around a disc (LV) beside an ellipse (RV), the moving one moved
by known amounts. Of one pair each gives what it can:

- MONAI: `compute_average_surface_distance` (symmetric) and `compute_dice`; it has no distance of centroids;
- DeepMind's `surface_distance`: the pooled average distance of its surface elements, which lie between the pixels, and
  `compute_dice_coefficient`;
- SciPy: the distance transform of each surface in the box of both, centroids by `center_of_mass`, Dice by counting.

One thread. MONAI and `surface_distance` are test dependencies; one that is not installed is named and left out. The
differences in mm are the largest over all pairs and structures: ASD from MONAI's, and CD and ASD from SciPy's.
"""

import argparse
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, center_of_mass, distance_transform_edt
from timing import Figure, add_options, in_turn, print_figures, ratios

from jointnet.common_grid import PIXEL_MM, SIZE_PX
from jointnet.evaluate.metrics import overlap_metrics
from jointnet.structures import CENTRED, CLASS_INDEX, STRUCTURES

LEAST_RATIO = 10
MOST_DIFFERENCE_MM = 0.001
SHIFT_MM = 3
OURS = "jointnet"

Labels = NDArray[np.uint8]
Values = dict[tuple[str, str], float]


def main() -> None:
    """Measure and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, repeats=11)
    parser.add_argument("--pairs", type=int, default=20, help="slice pairs of a turn")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(options.seed)
    pairs = [(heart(*rng.normal(0, SHIFT_MM, 2)), heart(*rng.normal(0, SHIFT_MM, 2))) for _ in range(options.pairs)]
    measures: dict[str, Callable[[Labels, Labels], Values]] = {OURS: overlap_metrics, "SciPy": scipy_metrics}
    for name, peer in (("MONAI", monai_metrics), ("DeepMind", deepmind_metrics)):
        try:
            peer(*pairs[0])
        except ImportError:
            print(f"{name} is not installed and left out")
        else:
            measures[name] = peer

    def over_pairs(measure: Callable[[Labels, Labels], Values]) -> Callable[[], object]:
        return lambda: [measure(*pair) for pair in pairs]

    seconds = in_turn({name: over_pairs(measure) for name, measure in measures.items()}, options.repeats)
    figures = [
        Figure(f"{name}, a slice pair", tuple(each * 1e3 / len(pairs) for each in times), "ms")
        for name, times in seconds.items()
    ]
    for name in measures:
        if name != OURS:
            least = LEAST_RATIO if name == "MONAI" else None
            figures.append(Figure(f"{name} / {OURS}", ratios(seconds[name], seconds[OURS]), "x", least=least))
    ours = [overlap_metrics(*pair) for pair in pairs]
    for name in ("MONAI", "SciPy"):
        if name in measures:
            theirs = [measures[name](*pair) for pair in pairs]
            largest = (
                max(
                    abs(own[key] - value)
                    for own, other in zip(ours, theirs, strict=True)
                    for key, value in other.items()
                    if key[0] != "dice"
                ),
            )
            figures.append(Figure(f"largest difference from {name}", largest, "mm", most=MOST_DIFFERENCE_MM))
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
    from monai.metrics import compute_average_surface_distance, compute_dice

    masks = [
        torch.from_numpy(np.stack([labels == CLASS_INDEX[name] for name in STRUCTURES]))[None]
        for labels in (fixed, moving)
    ]
    distances = compute_average_surface_distance(*masks, include_background=True, symmetric=True, spacing=PIXEL_MM)
    overlaps = compute_dice(masks[0].float(), masks[1].float())
    return {("asd_mm", name): float(distances[0, index]) for index, name in enumerate(STRUCTURES)} | {
        ("dice", name): float(overlaps[0, index]) for index, name in enumerate(STRUCTURES)
    }


def deepmind_metrics(fixed: Labels, moving: Labels) -> Values:
    """Return ASD, with both directions pooled by length, and Dice computed by DeepMind's package."""
    import surface_distance

    values = {}
    for name in STRUCTURES:
        masks = fixed == CLASS_INDEX[name], moving == CLASS_INDEX[name]
        distances = surface_distance.compute_surface_distances(*masks, (PIXEL_MM, PIXEL_MM))
        there, back = surface_distance.compute_average_surface_distance(distances)
        lengths = [distances[key].sum() for key in ("surfel_areas_gt", "surfel_areas_pred")]
        values["asd_mm", name] = float((there * lengths[0] + back * lengths[1]) / sum(lengths))
        values["dice", name] = float(surface_distance.compute_dice_coefficient(*masks))
    return values


def scipy_metrics(fixed: Labels, moving: Labels) -> Values:
    """Return CD, ASD and Dice computed by SciPy in the bounding box of both masks."""
    values = {}
    for name in STRUCTURES:
        both = fixed == CLASS_INDEX[name], moving == CLASS_INDEX[name]
        rows, columns = (np.flatnonzero((both[0] | both[1]).any(axis)) for axis in (1, 0))
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        masks = [np.pad(mask[box], 1) for mask in both]
        edges = [mask & ~binary_erosion(mask) for mask in masks]
        fields = [distance_transform_edt(~edge, sampling=(PIXEL_MM, PIXEL_MM)) for edge in edges]
        values["asd_mm", name] = float(np.concatenate([fields[1][edges[0]], fields[0][edges[1]]]).mean())
        if name in CENTRED:
            centres = [np.array(center_of_mass(mask)) for mask in masks]
            values["cd_mm", name] = float(np.linalg.norm(centres[0] - centres[1])) * PIXEL_MM
        values["dice", name] = 2 * np.count_nonzero(masks[0] & masks[1]) / sum(map(np.count_nonzero, masks))
    return values


if __name__ == "__main__":
    main()
