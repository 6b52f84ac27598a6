"""Volumes as NIfTI files on the grid of a scan.

A scan's header may contain free text (names, comments, extensions). A written file therefore gets a new header, into
which only the numbers that define the voxels' position are copied unchanged. So any viewer can overlay it on the scan.
"""

import gzip

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from jointnet.data.scan_file import volume_shape
from jointnet.structures import CLASS_INDEX, LABEL_VALUE

PLACING = ("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
ROWS = ("srow_x", "srow_y", "srow_z")
COMPRESSION = 4
VECTOR_INTENT = 1007
"""`NIFTI_INTENT_VECTOR`: every version of ITK reads the components of such a file unchanged."""


def nifti_bytes(volume: NDArray, like: nib.Nifti1Image) -> bytes:
    """Return a compressed NIfTI file with the world position of `like`. Equal content gives equal bytes.

    Args:
        volume: (I, J, K) on the grid of `like`, or vectors (I, J, K, 1, components).
        like: a scan; its lengths are in mm, even if its header does not state a unit.
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
    """Return a scan's intensities (I, J, K) as `jointnet.data.preparation` reads them."""
    data = np.asarray(image.dataobj, dtype=np.float32)
    return data.reshape(volume_shape(data.shape))


def as_stored(volume: NDArray[np.float32], image: nib.Nifti1Image) -> NDArray:
    """Return resampled intensities in the scan's data type if that is an integer type of at most 16 bits.

    For other types, and for scans with a scale factor or offset, return float32.
    """
    kind = image.get_data_dtype()
    scaled = (image.dataobj.slope, image.dataobj.inter) != (1.0, 0.0)
    if kind.kind not in "iu" or kind.itemsize > 2 or scaled:
        return volume.astype(np.float32)
    limits = np.iinfo(kind)
    return np.rint(volume).clip(limits.min, limits.max).astype(kind.newbyteorder("="))


def as_file_values(codes: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Return the challenge's label values for class indices: 0 background, 200 myocardium, 500 LV pool, 600 RV pool."""
    values = np.zeros(256, np.int16)
    for name, value in LABEL_VALUE.items():
        values[CLASS_INDEX[name]] = value
    return values[codes]
