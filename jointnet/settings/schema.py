"""The frozen dataclasses of a training, with the bound of each value beside it."""

from dataclasses import dataclass, field
from typing import Any

MODELS: tuple[str, ...] = ("standalone", "joint")
"""`standalone` registers only; `joint` also segments both images."""


def bounded(default: Any, low: float, high: float) -> Any:
    """Give a dataclass field with a default and inclusive bounds, checked by `settings_from_dict`."""
    return field(default=default, metadata={"low": low, "high": high})


def one_of(default: str, *choices: str) -> Any:
    """Give a dataclass field with a default and the strings that it may hold."""
    return field(default=default, metadata={"choices": choices})


@dataclass(frozen=True)
class ModelSettings:
    """What is computed, and what the branches share.

    Attributes:
        name: `standalone` or `joint`.
        widths: channels per resolution level of an encoder, finest first.
        stem: side of the block of pixels that is folded into channels before the first convolution and unfolded from
            the scores after the last: 2 makes the finest level four times as cheap, 1 is the classical U-Net.
        neighbours: slices on either side, 5 mm apart, that the networks see as further channels; at a stack's end its
            last slice again.
        sharing: joint only. What cine and LGE have in common: `none` (a U-Net each, as in the paper), the `encoder`, or
            the whole `network`. What is common keeps a normalisation of its own for each modality.
        head: joint only. How theta is found. `fully_connected`: a dense layer on the fused features, as in the paper.
            `guided`: by aligning the two predicted segmentations.
        hidden: units of the dense layer, where there is one.
        guide_steps: Gauss-Newton steps of the guided head.
        guide_descriptors: what the images' descriptors are multiplied by beside the segmentations when the guided head
            refines a prediction; 0 leaves them out.
        guide_by_patient: whether the guided head aligns the slices of a patient together when it predicts.
        max_rotation_deg, max_scale, max_shear, max_translation_mm: the bounded affine's limits on either side of the
            identity; `max_scale` is the largest factor of a length.
    """

    name: str = one_of("joint", *MODELS)
    widths: tuple[int, ...] = (32, 64, 96, 128)
    stem: int = bounded(2, 1, 8)
    neighbours: int = bounded(0, 0, 5)
    sharing: str = one_of("network", "none", "encoder", "network")
    head: str = one_of("guided", "guided", "fully_connected")
    hidden: int = bounded(64, 1, 4096)
    guide_steps: int = bounded(4, 1, 100)
    guide_descriptors: float = bounded(3.0, 0.0, 100.0)
    guide_by_patient: bool = True
    max_rotation_deg: float = bounded(20.0, 0.0, 90.0)
    max_scale: float = bounded(1.35, 1.0, 3.0)
    max_shear: float = bounded(0.2, 0.0, 1.0)
    max_translation_mm: float = bounded(25.0, 0.0, 80.0)


@dataclass(frozen=True)
class LossSettings:
    """total = lambda_1 registration + lambda_2 cine segmentation + lambda_3 LGE segmentation (the paper's eq. 3).

    Each branch's loss is alpha * cross-entropy + (1 - alpha) * Dice loss (eq. 2). The stand-alone model has the first
    branch only, so its lambda_1 scales everything and changes nothing under Adam.
    """

    lambda_1: float = bounded(1 / 3, 0.0, 1e6)
    lambda_2: float = bounded(1 / 3, 0.0, 1e6)
    lambda_3: float = bounded(1 / 3, 0.0, 1e6)
    alpha: float = bounded(0.5, 0.0, 1.0)


@dataclass(frozen=True)
class AugmentationSettings:
    """Random motion of both images together, extra motion of each alone, and random intensities.

    Standard deviations of normal draws, one per slice pair: `common_*` moves the pair, `elastic_mm` bends it by a
    smooth displacement, `relative_*` moves LGE against cine and so widens the misalignments that are trained on. Of
    either image alone: `log_gamma` is the SD of log(gamma); `curve` displaces the knots of a piecewise linear map of
    the intensities, so that blood may be darker than muscle, as the inversion time decides in LGE; `log_bias` is the
    SD of the logarithm of a smooth field. Of LGE: `structure_offset` is the SD of what is added to the intensities of
    each labelled structure; with `scar_probability` its myocardium gets a synthetic scar.
    """

    common_translation_mm: float = bounded(8.0, 0.0, 50.0)
    common_rotation_deg: float = bounded(12.0, 0.0, 180.0)
    common_log_scale: float = bounded(0.10, 0.0, 1.0)
    elastic_mm: float = bounded(2.0, 0.0, 20.0)
    relative_translation_mm: float = bounded(3.0, 0.0, 50.0)
    relative_rotation_deg: float = bounded(3.0, 0.0, 180.0)
    relative_log_scale: float = bounded(0.03, 0.0, 1.0)
    log_gamma: float = bounded(0.25, 0.0, 2.0)
    curve: float = bounded(0.15, 0.0, 2.0)
    log_bias: float = bounded(0.2, 0.0, 2.0)
    structure_offset: float = bounded(0.12, 0.0, 1.0)
    scar_probability: float = bounded(0.5, 0.0, 1.0)


@dataclass(frozen=True)
class OptimiserSettings:
    """Adam with a learning rate that falls: by a factor every few epochs (`step`) or to zero (`cosine`)."""

    learning_rate: float = bounded(1e-3, 1e-7, 1.0)
    schedule: str = one_of("cosine", "cosine", "step")
    step_factor: float = bounded(0.99, 1e-3, 1.0)
    step_epochs: int = bounded(2, 1, 10_000)
    weight_decay: float = bounded(0.0, 0.0, 1.0)


@dataclass(frozen=True)
class TrainingSettings:
    """How long and on what grid.

    Attributes:
        epochs: passes over the training slices.
        batch_size: slice pairs in a step.
        downsampling: the networks see the common grid averaged over blocks of this many pixels a side. Theta is in
            normalised coordinates, so it needs no change; metrics are always taken on the common grid itself.
        average_decay: decay per step of the weights' exponential moving average that is validated and saved; 0 uses
            the last weights as they are.
        validate_every: epochs between two validations; the last epoch is always validated.
    """

    epochs: int = bounded(60, 1, 100_000)
    batch_size: int = bounded(8, 1, 4096)
    downsampling: int = bounded(2, 1, 4)
    average_decay: float = bounded(0.99, 0.0, 0.9999)
    validate_every: int = bounded(6, 1, 1000)


@dataclass(frozen=True)
class Settings:
    """All of a training but its data and its seed."""

    model: ModelSettings = ModelSettings()
    loss: LossSettings = LossSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    training: TrainingSettings = TrainingSettings()
