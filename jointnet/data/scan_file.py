"""Reading of one NIfTI file in bounded time and memory. The header is checked before memory is allocated.

Only the header's fields for voxel storage and geometry are read. Its free text (`descrip`, `aux_file`, `intent_name`)
and its extensions are not read, so they cannot reach any output.
"""

import math
import struct
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from jointnet.errors import DataError
from jointnet.data.file_content import file_content
from jointnet.data.placement import Bounds, placement

LARGEST_VOXELS = 16 * 1024 * 1024
"""Largest number of voxels of a scan: 512 x 512 pixels in 64 slices."""
LARGEST_BYTES = LARGEST_VOXELS * 8
LARGEST_HEADER = 1024 * 1024
"""Largest number of bytes before the voxels, extensions included, and of bytes after them."""
LARGEST_RATIO = 1032
"""Largest compression ratio of Deflate. A compressed file whose header claims more is refused unread."""

HEADERS = {348: (nib.Nifti1Header, 344, b"n+1\0"), 540: (nib.Nifti2Header, 4, b"n+2\0")}
"""Header class, offset of the magic string and magic string of a single-file NIfTI, by header size in bytes."""


@dataclass(frozen=True)
class ScanHeader:
    """The contents of a valid header.

    Attributes:
        path: the file.
        shape: number of voxels along the three axes.
        affine: affine (4, 4) from voxel to world mm.
        bounds: two affines that bound the affine, given rounding; see `placement`.
        dtype: data type of the stored voxels.
        offset: byte offset of the first voxel.
        scale: factor and summand that convert stored values to intensities.
    """

    path: Path
    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    bounds: Bounds
    dtype: np.dtype
    offset: int
    scale: tuple[float, float]

    @property
    def end(self) -> int:
        """Byte offset of the end of the voxels."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


def read_header(path: Path) -> ScanHeader:
    """Read the header of a NIfTI file and check it against the file's size. No voxels are read.

    Raises:
        DataError: with all errors in the storage of the voxels or, if there are none, in the geometry.
    """
    block, size = _first_bytes(path)
    header = _parsed(path, block)
    shape = _shape(path, header)
    found = _stored(path, header, shape, size)
    affine, bounds, errors = placement(path, header, shape)
    if errors:
        raise DataError(errors)
    return ScanHeader(path, shape, affine, bounds, *found)


def read_voxels(header: ScanHeader) -> NDArray[np.float32]:
    """Read the intensities (I, J, K) of a file, in Fortran order as they are stored.

    The checksum of compressed content is verified. Values beyond single precision become infinite.

    Raises:
        DataError: if the content is truncated, much longer than the header claims, or damaged.
    """
    most = header.end + LARGEST_HEADER
    content = file_content(header.path, most + 1)
    if len(content) < header.end:
        raise DataError(
            f"{header.path}: must be a readable NIfTI file, it may be truncated: {header.end} bytes are claimed and "
            f"{len(content)} are there"
        )
    if len(content) > most:
        raise DataError(f"{header.path}: must end with its voxels, at byte {header.end}, but goes on for long")
    count = math.prod(header.shape)
    stored = np.frombuffer(content, header.dtype, count, header.offset).reshape(header.shape, order="F")
    factor, summand = header.scale
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(stored if header.scale == (1.0, 0.0) else stored * factor + summand, dtype=np.float32)


def volume_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return a shape without trailing axes of length 1 after the third axis."""
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return tuple(int(length) for length in shape)


def _first_bytes(path: Path) -> tuple[bytes, int]:
    """Return the first bytes of the content, enough for any header, and the size of the file."""
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise DataError(f"{path}: must be a readable NIfTI file, and it is no file")
    except OSError as error:
        raise DataError(f"{path}: must be a readable NIfTI file: {error.strerror}") from None
    if size > LARGEST_BYTES + 2 * LARGEST_HEADER:
        raise DataError(f"{path}: must be a scan of at most {LARGEST_BYTES} bytes, got {size}")
    return bytes(file_content(path, max(HEADERS), whole=False)), size


def _parsed(path: Path, block: bytes) -> nib.Nifti1Header:
    """Return the header at the start of a file, in either byte order."""
    for size, (kind, at, magic) in HEADERS.items():
        for order in "<>":
            if len(block) >= size and struct.unpack(f"{order}i", block[:4]) == (size,):
                if block[at : at + 4] == magic:
                    return kind(block[:size], order, check=False)
                raise DataError(f"{path}: must be a NIfTI file that holds header and voxels, its magic is another")
    raise DataError(f"{path}: must be a NIfTI file, got no header of one")


def _shape(path: Path, header: nib.Nifti1Header) -> tuple[int, ...]:
    dimensions = [int(length) for length in header["dim"]]
    if not 1 <= dimensions[0] <= 7:
        raise DataError(f"{path}: must be a volume with three axes, got dim[0] {dimensions[0]}")
    claimed = tuple(dimensions[1 : dimensions[0] + 1])
    shape = volume_shape(claimed)
    if len(shape) != 3 or min(shape) < 1:
        raise DataError(f"{path}: must be a volume with three axes, got shape {claimed}")
    if math.prod(shape) > LARGEST_VOXELS:
        raise DataError(f"{path}: must have at most {LARGEST_VOXELS} voxels, its header claims shape {claimed}")
    return shape


def _stored(
    path: Path, header: nib.Nifti1Header, shape: tuple[int, ...], size: int
) -> tuple[np.dtype, int, tuple[float, float]]:
    """Return data type, byte offset, and factor and summand of the voxels."""
    try:
        dtype = np.dtype(header.get_data_dtype())
    except Exception:  # nibabel passes on any exception of its code tables
        raise DataError(f"{path}: must have a known data type, got code {int(header['datatype'])}") from None
    errors = []
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        errors.append(f"{path}: must hold real numbers of at most 64 bits, got {dtype.name}")
    begins = float(header["vox_offset"])
    least = int(header["sizeof_hdr"]) + 4
    offset = int(begins) if math.isfinite(begins) else -1
    if not least <= offset <= LARGEST_HEADER:
        errors.append(f"{path}: must have its voxels from byte {least} to {LARGEST_HEADER} on, got {begins:g}")
    slope, summand = float(header["scl_slope"]), float(header["scl_inter"])
    scale = (slope, summand) if slope and math.isfinite(slope) else (1.0, 0.0)
    if not math.isfinite(scale[1]):
        errors.append(f"{path}: must have a finite scl_inter beside its scl_slope, got {summand}")
    if errors:
        raise DataError(errors)
    end = offset + math.prod(shape) * dtype.itemsize
    holds = size * (LARGEST_RATIO if path.name.endswith(".gz") else 1)
    if end > holds:
        raise DataError(
            f"{path}: must be a readable NIfTI file, it may be truncated: its header claims {shape} voxels, {end} "
            f"bytes in all, and {size} bytes cannot hold that"
        )
    if size > end + LARGEST_HEADER:
        raise DataError(f"{path}: must end with its voxels, after at most {end} bytes, but has {size}")
    return dtype, offset, scale
