"""The dataclasses of the settings, with the bounds of each value."""

from dataclasses import dataclass, field
from typing import Any

from jointnet.models import MODELS


def bounded(default: Any, low: float, high: float) -> Any:
    """Return a dataclass field with a default and inclusive bounds, which `settings_from_dict` checks."""
    return field(default=default, metadata={"low": low, "high": high})


def one_of(default: str, *choices: str) -> Any:
    """Return a dataclass field with a default and the allowed strings."""
    return field(default=default, metadata={"choices": choices})


@dataclass(frozen=True)
class ModelSettings:
    """Settings of the network architecture.

    Attributes:
        name: `standalone` or `joint`.
        widths: channels per resolution level of an encoder, finest first.
        stem: side of the block of pixels that is rearranged into channels before the first convolution, and back from
            the scores after the last. 2 reduces the cost of the finest level by a factor of four; 1 is the standard
            U-Net.
        neighbours: number of neighbouring slices on either side, 5 mm apart, that are further input channels. The last
            slice is repeated at the ends of a stack.
        sharing: joint only. What cine and LGE share: `none` (one U-Net each, as in the paper), the `encoder`, or the
            whole `network`. Shared parts have separate normalisations for each modality.
        head: joint only. How theta is computed. `fully_connected`: a dense layer on the fused features, as in the
            paper. `guided`: alignment of the two predicted segmentations.
        hidden: units of the dense layer of the stand-alone model and the fully connected head.
        guide_steps: number of Gauss-Newton steps of the guided head.
        guide_descriptors: weight of the MIND descriptors relative to the segmentations when the guided head refines a
            prediction; 0 switches them off.
        guide_by_patient: whether the guided head aligns the slices of a patient together in prediction.
        max_rotation_deg, max_scale, max_shear, max_translation_mm: limits of the affine on either side of the identity;
            `max_scale` is the largest scale factor.
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
    """Weights of the loss.

    total = lambda_1 registration + lambda_2 cine segmentation + lambda_3 LGE segmentation (the paper's eq. 3). Each
    branch's loss is alpha * cross-entropy + (1 - alpha) * Dice loss (eq. 2). The stand-alone model has only the
    registration branch, so that lambda_1 has no effect with Adam.
    """

    lambda_1: float = bounded(1 / 3, 0.0, 1e6)
    lambda_2: float = bounded(1 / 3, 0.0, 1e6)
    lambda_3: float = bounded(1 / 3, 0.0, 1e6)
    alpha: float = bounded(0.5, 0.0, 1.0)


@dataclass(frozen=True)
class AugmentationSettings:
    """Settings of the spatial and intensity augmentation.

    Values are standard deviations (SD) of normal random numbers, drawn for each slice pair. Spatial augmentation:
    `common_*` is for the affine of both images, `elastic_mm` for their smooth elastic displacement, and `relative_*`
    for the affine of LGE relative to cine, which increases the range of misalignments in training. Intensity
    augmentation of each image: `log_gamma` is the SD of log(gamma). `curve` is the SD of the displacements of the knots
    of a piecewise linear intensity map, which may make blood darker than muscle, as the inversion time does in LGE.
    `log_bias` is the SD of the logarithm of a smooth bias field. Intensity augmentation of LGE: `structure_offset` is
    the SD of the intensity offset of each labelled structure. `scar_probability` is the probability of a synthetic
    scar in the myocardium.
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
    """Settings of Adam. The learning rate falls by a factor every few epochs (`step`) or to zero (`cosine`)."""

    learning_rate: float = bounded(1e-3, 1e-7, 1.0)
    schedule: str = one_of("cosine", "cosine", "step")
    step_factor: float = bounded(0.99, 1e-3, 1.0)
    step_epochs: int = bounded(2, 1, 10_000)
    weight_decay: float = bounded(0.0, 0.0, 1.0)


@dataclass(frozen=True)
class TrainingSettings:
    """Settings of the training loop.

    Attributes:
        epochs: number of passes over the training slices.
        batch_size: number of slice pairs per step.
        downsampling: side, in pixels of the common grid, of the blocks whose means are the networks' input. Theta is in
            normalised coordinates and does not depend on it. Metrics are always computed on the common grid.
        average_decay: decay per step of the exponential moving average of the weights, which is validated and saved; 0
            uses the last weights.
        validate_every: number of epochs between validations; the last epoch is always validated.
    """

    epochs: int = bounded(60, 1, 100_000)
    batch_size: int = bounded(8, 1, 4096)
    downsampling: int = bounded(2, 1, 4)
    average_decay: float = bounded(0.99, 0.0, 0.9999)
    validate_every: int = bounded(6, 1, 1000)


@dataclass(frozen=True)
class Settings:
    """All settings of a training except data and seed."""

    model: ModelSettings = ModelSettings()
    loss: LossSettings = LossSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    training: TrainingSettings = TrainingSettings()
