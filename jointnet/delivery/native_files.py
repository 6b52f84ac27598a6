"""Volumes as NIfTI files on the grid of a scan: its place in the world, and nothing else of its header.

Headers carry free text (names, comments, extensions), so a written file has a header of its own, into which only the
numbers that place the voxels are copied, as they are: any viewer then lays it over the scan.
"""

import gzip

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from jointnet.scans.scan_file import volume_shape
from jointnet.structures import CODE, FILE_VALUE

PLACING = ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
ROWS = ("srow_x", "srow_y", "srow_z")
COMPRESSION = 4
VECTOR_INTENT = 1007
"""`NIFTI_INTENT_VECTOR`: ITK reads its components as they are, whatever ITK's version."""


def nifti_bytes(volume: NDArray, like: nib.Nifti1Image) -> bytes:
    """Give a compressed NIfTI file with the place in the world of `like`; the same content gives the same bytes.

    Args:
        volume: (I, J, K) on the grid of `like`, or vectors (I, J, K, 1, components).
        like: a scan; lengths are mm, whatever unit it leaves unsaid.
    """
    header = nib.Nifti1Header()
    header.set_data_dtype(volume.dtype)
    header.set_data_shape(volume.shape)
    header.set_xyzt_units("mm")
    header["pixdim"][:4] = like.header["pixdim"][:4]
    for name in (*PLACING, *ROWS):
        header[name] = like.header[name]
    if volume.ndim == 5:
        header["intent_code"] = VECTOR_INTENT
    image = nib.Nifti1Image(volume, None, header)
    return gzip.compress(image.to_bytes(), COMPRESSION, mtime=0)


def intensities(image: nib.Nifti1Image) -> NDArray[np.float32]:
    """Give a scan's intensities (I, J, K) as `jointnet.scans.preparation` reads them."""
    data = np.asarray(image.dataobj, dtype=np.float32)
    return data.reshape(volume_shape(data.shape))


def as_stored(volume: NDArray[np.float32], image: nib.Nifti1Image) -> NDArray:
    """Give resampled intensities in the type of the scan they come from: whole numbers where it stores whole ones.

    A scan with a scale factor, and any other, gives float32.
    """
    kind = image.get_data_dtype()
    scaled = (image.dataobj.slope, image.dataobj.inter) != (1.0, 0.0)
    if kind.kind not in "iu" or kind.itemsize > 2 or scaled:
        return volume.astype(np.float32)
    limits = np.iinfo(kind)
    return np.rint(volume).clip(limits.min, limits.max).astype(kind.newbyteorder("="))


def as_file_values(codes: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Give class codes as the challenge's values: 0 background, 200 myocardium, 500 LV pool, 600 RV pool."""
    values = np.zeros(256, np.int16)
    for name, value in FILE_VALUE.items():
        values[CODE[name]] = value
    return values[codes]
