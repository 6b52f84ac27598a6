"""The settings as frozen pydantic dataclasses: type, bounds, default and meaning of each value.

`jointnet.settings.validation` derives error messages and `--schema` from them. A docstring below a field is its
description.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, WithJsonSchema
from pydantic.dataclasses import dataclass

from jointnet.models import MODELS
from jointnet.own_code import REFERENCE
from jointnet.structures import STRUCTURES

if TYPE_CHECKING:
    ModelName = str
    Structure = str
else:
    ModelName = Literal[tuple(MODELS)] | Annotated[str, Field(pattern=f"^(?:{REFERENCE.pattern})$")]
    Structure = Literal[STRUCTURES]


def _list_or_tuple(value: Any) -> Any:
    """Return the value. pydantic alone would also accept a set, whose order is arbitrary."""
    if not isinstance(value, list | tuple):
        raise ValueError
    return value


def _each_once(names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the structures in the order of `STRUCTURES`."""
    if len(set(names)) < len(names):
        raise ValueError
    return tuple(name for name in STRUCTURES if name in names)


def _pairs(table: Any) -> Any:
    """Return a table as sorted pairs of key and value, which are hashable as settings have to be."""
    table = dict(table) if isinstance(table, tuple) else table
    if not isinstance(table, dict):
        raise ValueError
    return tuple((key, tuple(value) if isinstance(value, list) else value) for key, value in sorted(table.items()))


Widths = Annotated[
    tuple[Annotated[int, Field(ge=1, le=4096, strict=True)], ...],
    Field(min_length=2),
    BeforeValidator(_list_or_tuple),
]
StructureNames = Annotated[
    tuple[Structure, ...],
    Field(min_length=1, json_schema_extra={"uniqueItems": True}),
    BeforeValidator(_list_or_tuple),
    AfterValidator(_each_once),
]
References = Annotated[
    tuple[Annotated[str, Field(pattern=f"^(?:{REFERENCE.pattern})$")], ...], BeforeValidator(_list_or_tuple)
]
Options = Annotated[tuple[tuple[str, Any], ...], BeforeValidator(_pairs), WithJsonSchema({"type": "object"})]
TABLE = ConfigDict(extra="forbid", use_attribute_docstrings=True)
"""Configuration of a table of a TOML file: unknown keys are errors."""


BRANCHES = ("registration", "cine", "lge")
"""Names of the terms of the loss that the models here have."""
LARGEST_WEIGHT = 1e6


def bounded(default: Any, low: float, high: float) -> Any:
    """Return a number field with inclusive bounds. Other types are not converted, except integers to floats."""
    return Field(default=default, ge=low, le=high, strict=True)


@dataclass(frozen=True, config=TABLE)
class ModelSettings:
    """Settings of the network architecture."""

    name: ModelName = "joint"
    """`standalone` only registers; `joint` also segments both images; `descriptors` registers without a network.
    `package.module:NAME` or `file.py:NAME` is your own."""
    options: Options = ()
    """Settings of your own model: the fields of its dataclass."""
    structures: StructureNames = STRUCTURES
    """The structures that are learned, if the data have labels of them."""
    widths: Widths = (32, 64, 96, 128)
    """Channels per resolution level of an encoder, finest first."""
    stem: int = bounded(2, 1, 8)
    """Side of the blocks of pixels that become channels before the first convolution. 2 quarters the cost of the finest
    level."""
    neighbours: int = bounded(0, 0, 5)
    """Neighbouring slices on either side, 5 mm apart, that are further input channels."""
    sharing: Literal["none", "encoder", "network"] = "network"
    """Joint only. What cine and LGE share: `none` (one U-Net each, as in the paper), the `encoder`, or the whole
    `network`. Shared parts have separate normalisations for each modality."""
    head: Literal["guided", "fully_connected"] = "guided"
    """Joint only. How theta is computed. `fully_connected`: a dense layer on the fused features, as in the paper.
    `guided`: alignment of the two predicted segmentations."""
    hidden: int = bounded(64, 1, 4096)
    """Units of the dense layer of the stand-alone model and the fully connected head."""
    negative_slope: float = bounded(0.1, 0.0, 1.0)
    """Negative slope of the dense layer's leaky ReLU. With 0, a ReLU, all units can die: the prediction is then the
    same for all images."""
    guide_steps: int = bounded(4, 1, 100)
    """Gauss-Newton steps of the guided head. Refinement by descriptors takes twice as many."""
    max_rotation_deg: float = bounded(20.0, 0.0, 90.0)
    """Largest rotation of the predicted affine, in degrees."""
    max_scale: float = bounded(1.35, 1.0, 3.0)
    """Largest scale factor of the predicted affine; the smallest is its reciprocal."""
    max_shear: float = bounded(0.2, 0.0, 1.0)
    """Largest shear of the predicted affine."""
    max_translation_mm: float = bounded(25.0, 0.0, 80.0)
    """Largest translation of the predicted affine along each axis, in mm."""


@dataclass(frozen=True, config=TABLE)
class RegistrationSettings:
    """Settings of the stages after the network in validation and prediction.

    A network registers each slice alone. These stages register the slices of a patient together.
    """

    pooling: Literal["patient", "independent"] = "patient"
    """`patient`: each slice's transform is shrunk towards the patient's mean transform. `independent`: slices have no
    influence on each other."""
    refinement: Literal["descriptors", "none"] = "descriptors"
    """`descriptors`: alignment of MIND descriptors of both images, and of the segmentations if there are any, starting
    at the pooled transform. `none`: no refinement."""
    descriptor_weight: float = bounded(3.0, 0.0, 100.0)
    """Weight of the MIND descriptors relative to the segmentations and to the pooled transform."""


@dataclass(frozen=True, config=TABLE)
class LossSettings:
    """Weights of the loss.

    total = lambda_1 registration + lambda_2 cine segmentation + lambda_3 LGE segmentation (the paper's eq. 3). Each
    branch's loss is alpha * cross-entropy + (1 - alpha) * Dice loss (eq. 2). The stand-alone model has only the
    registration branch, where lambda_1 only changes which gradients are clipped.
    """

    lambda_1: float = bounded(1 / 3, 0.0, LARGEST_WEIGHT)
    """Weight of the registration branch."""
    lambda_2: float = bounded(1 / 3, 0.0, LARGEST_WEIGHT)
    """Weight of the cine segmentation branch."""
    lambda_3: float = bounded(1 / 3, 0.0, LARGEST_WEIGHT)
    """Weight of the LGE segmentation branch."""
    alpha: float = bounded(0.5, 0.0, 1.0)
    """Share of the cross-entropy in each branch's loss; the rest is the Dice loss."""
    terms: Options = ()
    """Weights of your own terms of the loss, by `package.module:NAME` or `file.py:NAME`."""


@dataclass(frozen=True, config=TABLE)
class AugmentationSettings:
    """Settings of the spatial and intensity augmentation.

    Values are standard deviations (SD) of normal random numbers, drawn for each slice pair, unless stated otherwise.
    """

    common_translation_mm: float = bounded(8.0, 0.0, 50.0)
    """SD of the translation of both images, in mm."""
    common_rotation_deg: float = bounded(12.0, 0.0, 180.0)
    """SD of the rotation of both images, in degrees."""
    common_log_scale: float = bounded(0.10, 0.0, 1.0)
    """SD of the logarithm of the scale of both images."""
    elastic_mm: float = bounded(2.0, 0.0, 20.0)
    """SD of the smooth elastic displacement of both images, in mm."""
    relative_translation_mm: float = bounded(3.0, 0.0, 50.0)
    """SD of the translation of LGE relative to cine, in mm."""
    relative_rotation_deg: float = bounded(3.0, 0.0, 180.0)
    """SD of the rotation of LGE relative to cine, in degrees."""
    relative_log_scale: float = bounded(0.03, 0.0, 1.0)
    """SD of the logarithm of the scale of LGE relative to cine."""
    log_gamma: float = bounded(0.25, 0.0, 2.0)
    """SD of log(gamma) of the gamma correction of each image."""
    curve: float = bounded(0.15, 0.0, 2.0)
    """SD of the shifts of the knots of a piecewise linear intensity map of each image. Blood may become darker than
    muscle, as in LGE."""
    log_bias: float = bounded(0.2, 0.0, 2.0)
    """SD of the logarithm of a smooth bias field of each image."""
    structure_offset: float = bounded(0.12, 0.0, 1.0)
    """SD of the intensity offset of each labelled structure in LGE."""
    scar_probability: float = bounded(0.5, 0.0, 1.0)
    """Probability of a synthetic scar in the myocardium in LGE."""
    field_cut_mm: float = bounded(27.0, 0.0, 80.0)
    """Largest width in mm cut from each side of an image's field of view, drawn uniformly."""
    field_cut_probability: float = bounded(0.5, 0.0, 1.0)
    """Probability that an image's field of view is cut, drawn for cine and LGE separately."""


@dataclass(frozen=True, config=TABLE)
class OptimiserSettings:
    """Settings of Adam."""

    learning_rate: float = bounded(1e-3, 1e-7, 1.0)
    """Initial learning rate."""
    schedule: Literal["cosine", "step"] = "cosine"
    """The learning rate falls by `step_factor` every `step_epochs` epochs (`step`), or to zero (`cosine`)."""
    step_factor: float = bounded(0.99, 1e-3, 1.0)
    """Factor of the learning rate, with `schedule = "step"` only."""
    step_epochs: int = bounded(2, 1, 10_000)
    """Epochs between reductions of the learning rate, with `schedule = "step"` only."""
    weight_decay: float = bounded(0.0, 0.0, 1.0)
    """Weight decay."""


@dataclass(frozen=True, config=TABLE)
class TrainingSettings:
    """Settings of the training loop."""

    epochs: int = bounded(60, 1, 100_000)
    """Epochs: passes over the training slices, unless `steps` is given."""
    steps: Annotated[int, Field(ge=1, le=10_000_000, strict=True)] | None = None
    """Optimiser steps of the whole training, spread evenly over the epochs, so that trainings with different numbers of
    patients have equal lengths."""
    batch_size: int = bounded(8, 1, 4096)
    """Slice pairs per step."""
    downsampling: int = bounded(2, 1, 4)
    """Side, in pixels of the common grid, of the blocks whose means are the networks' input. Metrics are computed on
    the common grid."""
    average_decay: float = bounded(0.99, 0.0, 0.9999)
    """Decay per step of the exponential moving average of the weights, which is validated and saved; 0: no average."""
    validate_every: int = bounded(6, 1, 1000)
    """Epochs between validations; the last epoch is always validated."""
    metrics: References = ()
    """Your own metrics, as `package.module:NAME` or `file.py:NAME`."""


@dataclass(frozen=True, config=TABLE)
class Settings:
    """All settings of a training except data and seed."""

    model: ModelSettings = ModelSettings()
    registration: RegistrationSettings = RegistrationSettings()
    loss: LossSettings = LossSettings()
    augmentation: AugmentationSettings = AugmentationSettings()
    optimiser: OptimiserSettings = OptimiserSettings()
    training: TrainingSettings = TrainingSettings()
