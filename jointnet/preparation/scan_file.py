"""Reading of one NIfTI file in bounded time and memory. The header is checked before memory is allocated.

Only the header's fields for voxel storage and geometry are read. Its free text (`descrip`, `aux_file`, `intent_name`)
and its extensions are not read, so they cannot reach any output.
"""

import math
import struct
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.quaternions import quat2mat
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from jointnet.errors import DataError
from jointnet.preparation.file_content import file_content
from jointnet.preparation.grid import Affine, Bounds, least_corner_distance_mm
from jointnet.system.file_version import once_per_version

LARGEST_VOXELS = 16 * 1024 * 1024
"""Largest number of voxels of a scan: 512 x 512 pixels in 64 slices."""
LARGEST_SERIES_VOXELS = 8 * LARGEST_VOXELS
"""Largest number of voxels of all frames of a 4D file. Only one frame is kept in memory."""
LARGEST_BYTES = LARGEST_SERIES_VOXELS * 8
LARGEST_HEADER = 1024 * 1024
"""Largest number of bytes before the voxels, extensions included, and of bytes after them."""
LARGEST_RATIO = 1032
"""Largest compression ratio of Deflate. A compressed file whose header claims more is refused unread."""

HEADERS = {348: (nib.Nifti1Header, 344, b"n+1\0"), 540: (nib.Nifti2Header, 4, b"n+2\0")}
"""Header class, offset of the magic string and magic string of a single-file NIfTI, by header size in bytes."""

SPACING_MM = (0.05, 50.0)
LARGEST_EXTENT_MM = 1000.0
LARGEST_COORDINATE_MM = 10_000.0
LEAST_DETERMINANT = 0.1
"""Least determinant of the unit vectors along the axes: 1 if they are orthogonal, 0 if they lie in a plane."""
FORMS_TOLERANCE_MM = 0.1
"""Largest distance at a corner between qform and sform, beyond the rounding of the quaternion."""
QUATERNION_ROUNDING = 2 * math.sqrt(3) * float(np.finfo(np.float32).eps)
"""Uncertainty of 1 - b^2 - c^2 - d^2 of a quaternion whose b, c and d are rounded to single precision."""
OTHER_UNITS = {1: "metres", 3: "micrometres"}


@dataclass(frozen=True)
class ScanHeader:
    """The contents of a valid header.

    Attributes:
        path: the file.
        shape: number of voxels along the three axes.
        frames: number of frames of a 4D file; 1 otherwise.
        affine: affine (4, 4) from voxel to world mm.
        bounds: two affines that bound the affine, given rounding; see `placement`.
        dtype: data type of the stored voxels.
        offset: byte offset of the first voxel; of a 4D file, that of the chosen frame.
        end: byte offset of the end of the voxels of all frames.
        scale: factor and summand that convert stored values to intensities.
    """

    path: Path
    shape: tuple[int, ...]
    frames: int
    affine: NDArray[np.float64]
    bounds: Bounds
    dtype: np.dtype
    offset: int
    end: int
    scale: tuple[float, float]

    @property
    def volume_bytes(self) -> int:
        """Number of bytes of one frame."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(path: Path, frame: int | None = None, label: bool = False) -> ScanHeader:
    """Read the header of a NIfTI file and check it against the file's size. No voxels are read.

    Args:
        path: the file.
        frame: the frame of a 4D file, counted from 0. A 3D file has frame 0. None for a file that must be 3D.
        label: whether the file is a segmentation. A 3D segmentation belongs to any frame.

    Raises:
        DataError: with all errors in the storage of the voxels or, if there are none, in the geometry.
    """
    header = _read_header(path)
    if header.frames == 1 and (label or not frame):
        return header
    if frame is None:
        raise DataError(
            f"{path}: must be a volume with three axes, got shape {(*header.shape, header.frames)}; for a 4D cine, "
            "state the frame to read: [cine] frame in dataset.toml, or --frame for one pair"
        )
    if not 0 <= frame < header.frames:
        rule = f"must have frame {frame}, counted from 0, as [cine] frame or --frame says"
        raise DataError(f"{path}: {rule}, got {header.frames} frame{'s' * (header.frames > 1)}")
    return replace(header, offset=header.offset + frame * header.volume_bytes)


@once_per_version
def _read_header(path: Path) -> ScanHeader:
    """Return the header of a file, with the offset of its first frame."""
    block, size = _first_bytes(path)
    header = _parsed(path, block)
    shape, frames = _shape(path, header)
    dtype, offset, scale = _stored(path, header, (*shape, frames), size)
    affine, bounds, errors = placement(path, header, shape)
    if errors:
        raise DataError(errors)
    for shared in (affine, *bounds):
        shared.flags.writeable = False
    end = offset + frames * math.prod(shape) * dtype.itemsize
    return ScanHeader(path, shape, frames, affine, bounds, dtype, offset, end, scale)


def read_voxels(header: ScanHeader) -> NDArray[np.float32]:
    """Read the intensities (I, J, K) of a file or of the chosen frame, in Fortran order as they are stored.

    The checksum of compressed content is verified. Values beyond single precision become infinite.

    Raises:
        DataError: if the content is truncated, much longer than the header claims, or damaged.
    """
    most = header.end + LARGEST_HEADER
    content = file_content(header.path, most + 1, part=(header.offset, header.offset + header.volume_bytes))
    if content.length < header.end:
        raise DataError(
            f"{header.path}: must be a readable NIfTI file, it may be truncated: {header.end} bytes are claimed and "
            f"{content.length} are there"
        )
    if content.length > most:
        raise DataError(f"{header.path}: must end with its voxels, at byte {header.end}, but much more follows")
    count = math.prod(header.shape)
    stored = np.frombuffer(content.kept, header.dtype, count).reshape(header.shape, order="F")
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
            raise DataError(f"{path}: must be a readable NIfTI file, but is not a file")
    except OSError as error:
        raise DataError(f"{path}: must be a readable NIfTI file: {error.strerror}") from None
    if size > LARGEST_BYTES + 2 * LARGEST_HEADER:
        raise DataError(f"{path}: must be a scan of at most {LARGEST_BYTES} bytes, got {size}")
    return bytes(file_content(path, max(HEADERS), complete=False).kept), size


def _parsed(path: Path, block: bytes) -> nib.Nifti1Header:
    """Return the header at the start of a file, in either byte order."""
    for size, (kind, at, magic) in HEADERS.items():
        for order in "<>":
            if len(block) >= size and struct.unpack(f"{order}i", block[:4]) == (size,):
                if block[at : at + 4] == magic:
                    return kind(block[:size], order, check=False)
                raise DataError(
                    f"{path}: must be a NIfTI file that holds header and voxels, but its magic string differs"
                )
    raise DataError(f"{path}: must be a NIfTI file, but has no NIfTI header")


def _shape(path: Path, header: nib.Nifti1Header) -> tuple[tuple[int, ...], int]:
    """Return the shape of a volume, and the number of volumes."""
    dimensions = [int(length) for length in header["dim"]]
    if not 1 <= dimensions[0] <= 7:
        raise DataError(f"{path}: must be a volume with three axes, got dim[0] {dimensions[0]}")
    claimed = tuple(dimensions[1 : dimensions[0] + 1])
    shape = volume_shape(claimed)
    if len(shape) not in (3, 4) or min(shape) < 1:
        raise DataError(f"{path}: must be a volume with three axes, got shape {claimed}")
    if math.prod(shape[:3]) > LARGEST_VOXELS:
        raise DataError(f"{path}: must have at most {LARGEST_VOXELS} voxels, its header claims shape {claimed}")
    if math.prod(shape) > LARGEST_SERIES_VOXELS:
        most = f"at most {LARGEST_SERIES_VOXELS} voxels in all frames"
        raise DataError(f"{path}: must have {most}, its header claims shape {claimed}")
    return shape[:3], math.prod(shape[3:])


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
    claimed = volume_shape(shape)
    holds = size * (LARGEST_RATIO if path.name.endswith(".gz") else 1)
    if end > holds:
        raise DataError(
            f"{path}: must be a readable NIfTI file, it may be truncated: its header claims {claimed} voxels, {end} "
            f"bytes in all, and {size} bytes cannot hold that"
        )
    if size > end + LARGEST_HEADER:
        raise DataError(f"{path}: must end with its voxels, after at most {end} bytes, but has {size}")
    return dtype, offset, scale


@np.errstate(invalid="ignore")  # conversion of signalling NaNs to double
def placement(path: Path, header: nib.Nifti1Header, shape: tuple[int, ...]) -> tuple[Affine, Bounds, list[str]]:
    """Return the affine (4, 4) of the sform, or else of the qform, its bounds, and the errors in the geometry.

    The bounds of an sform are the sform itself. Those of a qform follow from the rounding of its quaternion.
    """
    by_sform, by_qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    nowhere = np.full((4, 4), np.nan)
    if not (by_sform or by_qform):
        error = f"{path}: must place its voxels in the world by a qform or an sform, both codes are 0"
        return nowhere, (nowhere, nowhere), [error]
    errors = []
    if (unit := int(header["xyzt_units"]) & 7) in OTHER_UNITS:
        errors.append(f"{path}: must measure lengths in mm, got a header in {OTHER_UNITS[unit]}")
    sizes = np.array(header["pixdim"][1:4], float)
    sized = bool(np.isfinite(sizes).all() and (sizes > 0).all())
    if not sized:
        errors.append(f"{path}: must have voxel sizes (pixdim) above 0 mm, got {sizes.tolist()}")
    sform = np.asarray(header.get_sform(), float) if by_sform else None
    qform = _qform(header) if by_qform and sized else None
    if by_qform and sized and qform is None:
        errors.append(f"{path}: must have a qform that is a rotation, got quatern_b, c, d {_quaternion(header)}")
    affine = qform if sform is None else sform
    if affine is None:
        return nowhere, (nowhere, nowhere), errors
    errors += _affine_errors(path, affine, shape)
    if sform is not None and qform is not None and not np.isfinite(qform).all():
        errors.append(
            f"{path}: must have a finite qform, got qoffset {qform[:3, 3].tolist()}; set its code to 0 where the sform "
            "is right"
        )
    if errors or qform is None:
        return affine, (affine, affine), errors
    bounds = _qform_bounds(header, qform)
    if sform is None:
        return affine, bounds, errors
    distance_mm = least_corner_distance_mm(shape, sform, bounds)
    if not distance_mm <= FORMS_TOLERANCE_MM:
        errors.append(
            f"{path}: must have a qform and an sform that agree, but a corner differs by {distance_mm:.2f} mm; set "
            "the code of the wrong one to 0"
        )
    return affine, (affine, affine), errors


def _qform(header: nib.Nifti1Header) -> Affine | None:
    """Return the affine of the qform, or None if its quaternion is invalid."""
    if header["pixdim"][0] not in (1, -1):
        header["pixdim"][0] = 1  # the format reads 0 as 1
    try:
        return np.asarray(header.get_qform(), float)
    except (ValueError, HeaderDataError):
        return None


def _qform_bounds(header: nib.Nifti1Header, qform: Affine) -> Bounds:
    """Return the two affines that bound the qform, given the rounding of the header's quaternion.

    A header holds b, c and d of a unit quaternion in single precision, and a = sqrt(1 - b^2 - c^2 - d^2). Near a
    rotation by 180 degrees, a is near 0 and accurate to 6e-4 only, which is 0.07 degrees; elsewhere it is accurate to
    1e-6.
    """
    quaternion = [float(header[f"quatern_{name}"]) for name in "bcd"]
    square = 1 - sum(value * value for value in quaternion)
    scale = np.array(header["pixdim"][1:4], float) * (1, 1, float(header["pixdim"][0]))
    least, most = qform.copy(), qform.copy()
    for affine, bound in ((least, square - QUATERNION_ROUNDING), (most, square + QUATERNION_ROUNDING)):
        affine[:3, :3] = quat2mat([math.sqrt(max(0.0, bound)), *quaternion]) * scale
    return least, most


def _quaternion(header: nib.Nifti1Header) -> list[float]:
    return [round(float(header[f"quatern_{name}"]), 4) for name in "bcd"]


def _affine_errors(path: Path, affine: Affine, shape: tuple[int, ...]) -> list[str]:
    """Return the errors in an affine. Shear is allowed if the affine is clearly invertible."""
    rows = [[float(f"{value:.6g}") for value in row] for row in affine[:3]]
    if not np.isfinite(affine).all() or np.abs(affine).max() > LARGEST_COORDINATE_MM:
        return [f"{path}: must have an affine with finite values up to {LARGEST_COORDINATE_MM:g} mm, got {rows}"]
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
    volume = float(np.prod(spacing_mm))
    if volume == 0 or abs(np.linalg.det(affine[:3, :3])) < LEAST_DETERMINANT * volume:
        return [f"{path}: must have an invertible affine, got {rows}"]
    errors = []
    if spacing_mm.min() < SPACING_MM[0] or spacing_mm.max() > SPACING_MM[1]:
        errors.append(
            f"{path}: must have voxels of {SPACING_MM[0]:g} to {SPACING_MM[1]:g} mm, got {spacing_mm.round(6).tolist()}"
        )
    elif (extent_mm := (spacing_mm * shape).max()) > LARGEST_EXTENT_MM:
        errors.append(f"{path}: must measure at most {LARGEST_EXTENT_MM:g} mm along an axis, got {extent_mm:.0f} mm")
    return errors
