import gzip
from dataclasses import replace

import numpy as np
import pytest
from scans import (
    CENTRE_MM,
    LV_MM,
    Scan,
    affine_about,
    axes,
    edge_distance_mm,
    in_plane,
    mirrored,
    pair,
    scan,
    scene,
    transposed,
    with_image,
    write_nifti,
    write_patient,
)

from jointnet.common_grid import PIXEL_MM
from jointnet.data.folder import find_patients
from jointnet.errors import DataError
from jointnet.preparation.labels import LabelValues
from jointnet.preparation.prepared_patient import (
    CEILING,
    PERCENTILES,
    class_counts,
    prepare_patient,
    robust_ends,
    voxel_errors,
)
from jointnet.structures import CLASS_INDEX, LABEL_VALUE

INDEX_OF_VALUE = np.zeros(601, np.uint8)
for name, value in LABEL_VALUE.items():
    INDEX_OF_VALUE[value] = CLASS_INDEX[name]


def prepare(tmp_path, cine, lge, **how):
    tmp_path.mkdir(exist_ok=True)
    write_patient(tmp_path, 1, cine, lge, **how)
    return prepare_patient(find_patients(tmp_path)["1"])


def errors_of(tmp_path, cine, lge):
    with pytest.raises(DataError) as caught:
        prepare(tmp_path, cine, lge)
    return caught.value.errors


def grid_points(description):
    affine = np.array(description["affine"])
    rows, columns, slices = np.meshgrid(range(224), range(224), range(description["slices"]), indexing="ij")
    points = np.stack([rows, columns, slices], -1) @ affine[:3, :3].T + affine[:3, 3]
    return np.moveaxis(points, 2, 0)


def oblique_pair(cine_view, lge_view, shift_mm=(0.0, 0.0)):
    cine_shape, lge_shape = (64, 60, 3), (100, 96, 6)
    return (
        scan(affine_about(axes(**cine_view), (2.0, 2.0, 10.0), cine_shape), cine_shape),
        scan(
            affine_about(axes(**lge_view), (1.4, 1.4, 5.0), lge_shape, CENTRE_MM + np.array([2, -3, 1])),
            lge_shape,
            shift_mm,
        ),
    )


@pytest.mark.parametrize(
    ("cine_view", "lge_view"),
    [
        ({}, {}),
        ({"rotation_deg": 17}, {"rotation_deg": -25}),
        ({}, {"rotation_deg": 40, "tilt_deg": 8}),
        ({"rotation_deg": -10, "tilt_deg": 6}, {}),
    ],
)
def test_labels_lie_where_the_scene_has_them_in_the_world(tmp_path, cine_view, lge_view):
    """The label at a point is that of the nearest voxel.

    It is correct where the nearest edge is farther than half a voxel diagonal plus half the slice thickness times the
    tilt.
    """
    shift = (7.0, -4.0)
    images, labels, _, description = prepare(tmp_path, *oblique_pair(cine_view, lge_view, shift))
    points = grid_points(description)
    shown = images[:, 0].astype(bool) | images[:, 1].astype(bool)
    for channel, (pixel, thickness, view, moved) in enumerate(
        ((2.0, 10.0, cine_view, (0, 0)), (1.4, 5.0, lge_view, shift))
    ):
        tilt = np.deg2rad(view.get("tilt_deg", 0))
        tolerance = pixel / np.sqrt(2) + thickness / 2 * np.tan(tilt)
        sure = shown & (edge_distance_mm(points, moved) > tolerance + 1e-6)
        assert sure.sum() > 0.3 * shown.sum()
        np.testing.assert_array_equal(labels[:, channel][sure], INDEX_OF_VALUE[scene(points, moved)][sure])


def test_a_disc_s_centre_and_area_are_those_of_the_world(tmp_path):
    shift = np.array([6.0, -4.5])
    _, labels, _, description = prepare(tmp_path, *oblique_pair({"rotation_deg": 12}, {"rotation_deg": -20}, shift))
    flat = in_plane(grid_points(description))
    for channel, expected, pixel in ((0, (0, 0), 2.0), (1, shift, 1.4)):
        for index in range(description["slices"]):
            mask = labels[index, channel] == CLASS_INDEX["lv"]
            np.testing.assert_allclose(flat[index][mask].mean(0), expected, atol=pixel / 2)
            assert mask.sum() * PIXEL_MM**2 == pytest.approx(np.pi * LV_MM**2, rel=0.05)


STORED = {
    "columns mirrored": lambda this: mirrored(this, 0),
    "rows mirrored": lambda this: mirrored(this, 1),
    "slices reversed": lambda this: mirrored(this, 2),
    "transposed": transposed,
    "all at once": lambda this: mirrored(mirrored(transposed(this), 1), 2),
}


@pytest.mark.parametrize("how", STORED)
@pytest.mark.parametrize("which", ["cine", "lge"])
def test_how_a_scan_is_stored_changes_nothing(tmp_path, how, which):
    cine, lge = oblique_pair({"rotation_deg": 12}, {"rotation_deg": -20, "tilt_deg": 3}, (5, 2))
    images, labels, field, description = prepare(tmp_path / "plain", cine, lge)
    cine, lge = (STORED[how](cine), lge) if which == "cine" else (cine, STORED[how](lge))
    other_images, other_labels, other_field, other_description = prepare(tmp_path / "stored", cine, lge)
    np.testing.assert_allclose(other_description["affine"], description["affine"], atol=1e-4)
    assert np.mean(labels != other_labels) < 1e-3
    assert np.mean(field != other_field) < 1e-3
    difference = abs(images.astype(float) - other_images.astype(float))
    assert np.mean(difference > 0.01) < 1e-3


@pytest.mark.parametrize("codes", [(0, 1), (1, 0), (2, 3)], ids=["qform only", "sform only", "both"])
def test_either_form_places_the_voxels(tmp_path, codes):
    cine, lge = oblique_pair({"rotation_deg": 12}, {"rotation_deg": -20})
    images, labels, *_ = prepare(tmp_path / "both", cine, lge)
    same_images, same_labels, *_ = prepare(tmp_path / "one", cine, lge, codes=codes)
    assert np.mean(labels != same_labels) < 1e-3
    assert np.mean(abs(images.astype(float) - same_images.astype(float)) > 0.01) < 1e-3


def test_types_and_shapes(tmp_path):
    images, labels, field, description = prepare(tmp_path, *pair())
    assert (images.dtype, labels.dtype, field.dtype) == (np.float16, np.uint8, bool)
    assert images.shape == labels.shape == (description["slices"], 2, 224, 224)
    assert field.shape == (description["slices"], 224, 224)
    assert description["slices"] == 4


def test_both_images_are_zero_outside_of_what_both_show(tmp_path):
    cine_shape, lge_shape = (30, 60, 2), (60, 30, 4)
    cine = scan(affine_about(axes(), (2.0, 2.0, 10.0), cine_shape), cine_shape)
    lge = scan(affine_about(axes(), (2.0, 2.0, 5.0), lge_shape), lge_shape)
    images, labels, field, description = prepare(tmp_path, cine, lge)
    flat = abs(in_plane(grid_points(description)))
    both = (flat <= 30).all(-1)
    np.testing.assert_array_equal(field, both)
    assert description["both_fraction"] == pytest.approx(both.mean(), abs=1e-3)
    for channel in (0, 1):
        assert not images[:, channel][~both].any()
        assert (images[:, channel][both] > 0).mean() > 0.9
    assert not labels[:, 0][flat[..., 0] > 31].any(), "a label where its own scan shows nothing"
    assert not labels[:, 1][flat[..., 1] > 31].any(), "a label where its own scan shows nothing"


def test_intensities_are_normalised_by_percentiles_of_what_both_show_and_cut(tmp_path):
    cine, lge = pair()
    images, *_ = prepare(tmp_path / "plain", cine, lge)
    inside = images[:, 0][(images[:, 0] > 0) & (images[:, 1] > 0)].astype(float)
    assert inside.min() >= 0
    assert inside.max() <= CEILING
    assert np.quantile(images[:, 1][images[:, 1] > 0].astype(float), 0.98) == pytest.approx(1, abs=0.08)
    bright = cine.image.copy()
    bright[28, 26, 0] = 1e6
    spiked, *_ = prepare(tmp_path / "spiked", with_image(cine, bright), lge)
    assert spiked.max() == CEILING
    assert np.mean(abs(spiked[:, 0].astype(float) - images[:, 0].astype(float)) > 0.02) < 0.01


def test_scale_and_offset_of_the_intensities_do_not_matter(tmp_path):
    cine, lge = pair()
    images, *_ = prepare(tmp_path / "plain", cine, lge)
    scaled, *_ = prepare(tmp_path / "scaled", with_image(cine, 7 * cine.image - 300), lge)
    np.testing.assert_allclose(scaled.astype(float), images.astype(float), atol=3e-3)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_intensities_that_are_not_finite_are_counted(tmp_path, broken):
    cine, lge = pair()
    lge.image[3:5, 2, 1] = broken
    (error,) = errors_of(tmp_path, cine, lge)
    assert str(tmp_path / "patient1_LGE.nii.gz") in error
    assert "2 voxels" in error


@pytest.mark.parametrize("value", [1, 201, -200, 1000])
def test_unknown_labels_are_named(tmp_path, value):
    cine, lge = pair()
    cine.label[2, 2, 0] = value
    (error,) = errors_of(tmp_path, cine, lge)
    assert str(tmp_path / "patient1_C0_manual.nii.gz") in error
    assert f"got {value}" in error


def test_a_label_that_is_nan_or_between_two_values_is_unknown(tmp_path):
    cine, lge = pair()
    label = lge.label.astype(np.float32)
    label[0, 0, 0], label[0, 0, 1] = np.nan, 200.5
    (error,) = errors_of(tmp_path, cine, Scan(lge.image, label, lge.affine))
    assert "nan" in error
    assert "200.5" in error


def test_labels_stored_as_floats_are_read(tmp_path):
    cine, lge = pair()
    _, labels, *_ = prepare(tmp_path / "whole", cine, lge)
    floats = Scan(lge.image, lge.label.astype(np.float64), lge.affine)
    _, same, *_ = prepare(tmp_path / "floats", cine, floats)
    np.testing.assert_array_equal(labels, same)


def test_a_constant_image_and_an_empty_label_are_both_reported(tmp_path):
    cine, lge = pair()
    lge.label[:] = 0
    errors = errors_of(tmp_path, with_image(cine, np.full_like(cine.image, 7)), lge)
    assert len(errors) == 2
    assert str(tmp_path / "patient1_C0.nii.gz") in errors[0]
    assert "7" in errors[0]
    assert str(tmp_path / "patient1_LGE_manual.nii.gz") in errors[1]


def test_every_broken_file_of_a_patient_is_reported(tmp_path):
    cine, lge = pair()
    cine.image[0, 0, 0] = np.nan
    cine.label[0, 0, 0] = 3
    lge.image[:, 0, 0] = np.inf
    lge.label[0, 0, 0] = 4
    errors = errors_of(tmp_path, cine, lge)
    assert {error.split(": ")[0].rpartition("/")[2] for error in errors} == {
        f"patient1_{name}.nii.gz" for name in ("C0", "LGE", "C0_manual", "LGE_manual")
    }


def test_scans_that_do_not_overlap_are_named(tmp_path):
    cine, lge = pair()
    moved = lge.affine.copy()
    moved[:3, 3] += 60 * axes()[2]
    (error,) = errors_of(tmp_path, cine, Scan(lge.image, lge.label, moved))
    assert str(tmp_path / "patient1_LGE.nii.gz") in error
    assert "patient1_C0.nii.gz" in error


def test_a_truncated_file_is_named(tmp_path):
    cine, lge = pair()
    paths = write_patient(tmp_path, 1, cine, lge)
    content = paths["lge"].read_bytes()
    paths["lge"].write_bytes(content[: len(content) // 2])
    paths["cine_label"].write_bytes(gzip.compress(gzip.decompress(paths["cine_label"].read_bytes())[:-100]))
    with pytest.raises(DataError) as caught:
        prepare_patient(find_patients(tmp_path)["1"])
    assert len(caught.value.errors) == 2
    for role in ("lge", "cine_label"):
        assert any(str(paths[role]) in error for error in caught.value.errors)


def test_a_fourth_axis_of_length_1_is_no_fourth_axis(tmp_path):
    cine, lge = pair()
    _, labels, *_ = prepare(tmp_path / "three", cine, lge)
    write_patient(tmp_path / "four", 1, cine, lge)
    write_nifti(tmp_path / "four/patient1_C0.nii.gz", cine.image[..., None], cine.affine)
    _, same, *_ = prepare_patient(find_patients(tmp_path / "four")["1"])
    np.testing.assert_array_equal(labels, same)


def test_without_manual_segmentations_images_are_the_same_and_labels_are_0(tmp_path):
    cine, lge = pair()
    images, labels, *_ = prepare(tmp_path, cine, lge)
    files = replace(find_patients(tmp_path)["1"], cine_label=None, lge_label=None)
    bare_images, bare_labels, *_ = prepare_patient(files)
    np.testing.assert_array_equal(bare_images, images)
    assert labels.any()
    assert bare_labels.shape == labels.shape
    assert not bare_labels.any()


def test_intensities_whose_difference_overflows_are_named(tmp_path):
    cine, lge = pair()
    image = cine.image.copy()
    image[0, 0, 0], image[1, 0, 0] = 3e38, -3e38
    (error,) = errors_of(tmp_path, with_image(cine, image), lge)
    assert "1e+30" in error


VALUES = {
    "one": np.ones(1),
    "two": np.array([3.0, -1.0]),
    "few": np.arange(7.0)[::-1],
    "noise": np.random.default_rng(0).normal(100, 20, 50_000),
    "spikes": np.where(np.random.default_rng(1).random(50_000) < 0.3, 1e6, np.random.default_rng(2).random(50_000)),
    "ties": np.random.default_rng(3).integers(0, 5, 50_000).astype(float),
    "background": np.maximum(0, np.random.default_rng(4).normal(-1, 1, 50_000)),
    "a sample that misleads": np.where(np.arange(50_000) % 101 == 0, 5.0, np.arange(50_000.0)),
    "the same": np.full(1000, 7.5),
    "sorted": np.arange(10_001.0),
}


@pytest.mark.parametrize("name", VALUES)
def test_robust_ends_are_numpy_s_percentiles(name):
    values = VALUES[name].astype(np.float32)
    np.testing.assert_allclose(robust_ends(values), np.percentile(values.astype(float), PERCENTILES), rtol=1e-7)


@pytest.mark.parametrize("block", [1, 2, 4, 7])
def test_counts_are_pixels_of_each_structure_in_each_block(block):
    labels = np.random.default_rng(0).integers(0, 4, (3, 2, 224, 224), dtype=np.uint8)
    counts = class_counts(labels, block)
    assert counts.dtype == np.uint8
    for index in (1, 2, 3):
        expected = (labels == index).reshape(3, 2, 224 // block, block, 224 // block, block).sum((3, 5))
        np.testing.assert_array_equal(counts[:, :, index - 1], expected)


def test_other_values_and_a_frame_of_a_series_prepare_the_same_patient(tmp_path):
    cine, lge = pair()
    expected = prepare(tmp_path / "challenge", cine, lge)
    own = {0: 0, LABEL_VALUE["lv"]: 3, LABEL_VALUE["myo"]: 2, LABEL_VALUE["rv"]: 1}
    paths = write_patient(tmp_path / "own", 1, cine, lge)
    write_nifti(paths["cine"], np.stack([cine.image * 0, cine.image[::-1], cine.image], -1), cine.affine)
    write_nifti(paths["cine_label"], np.vectorize(own.get)(cine.label).astype(np.int16), cine.affine)
    values = LabelValues((("lv", (3,)), ("myo", (2,)), ("rv", (1,))))
    found = prepare_patient(replace(find_patients(tmp_path / "own")["1"], cine_values=values, cine_frame=2))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_equal(one, other)


def test_a_structure_that_nobody_drew_is_not_in_the_labels_even_if_it_is_in_the_file(tmp_path):
    cine, lge = pair()
    _, labels, *_ = prepare(tmp_path, cine, lge)
    files = replace(find_patients(tmp_path)["1"], unlabelled=frozenset({("cine", "rv"), ("lge", "lv")}))
    _, found, *_ = prepare_patient(files)
    np.testing.assert_array_equal(found[:, 0], np.where(labels[:, 0] == CLASS_INDEX["rv"], 0, labels[:, 0]))
    np.testing.assert_array_equal(found[:, 1], np.where(labels[:, 1] == CLASS_INDEX["lv"], 0, labels[:, 1]))


def test_every_error_of_a_described_patient_is_found_though_headers_were_wrong(tmp_path):
    paths = write_patient(tmp_path, 1, *pair())
    values = LabelValues((("lv", (1,)), ("myo", (2,)), ("rv", (3,))))
    files = replace(find_patients(tmp_path)["1"], lge_values=values)
    (error,) = voxel_errors(files, [f"{paths['cine']}: must be sound"])
    assert error.startswith(f"{paths['lge_label']}: must hold the labels 0 background, 1 lv, 2 myo, 3 rv only, got 200")
