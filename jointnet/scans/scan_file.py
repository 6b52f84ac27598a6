"""One NIfTI file, read in bounded time and memory: what its header claims is checked before memory is asked for.

Of the header only the numbers are read that say how voxels are stored and where they lie. Its free text (`descrip`,
`aux_file`, `intent_name`) and its extensions are never looked at, so they cannot get anywhere from here.
"""

import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import nibabel as nib
import numpy as np
from isal import isal_zlib
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from jointnet.faults import DataFaultError

LARGEST_VOXELS = 16 * 1024 * 1024
"""A scan that claims more voxels than this is refused: 512 x 512 pixels in 64 slices."""
LARGEST_BYTES = LARGEST_VOXELS * 8
LARGEST_HEADER = 1024 * 1024
"""Bytes, extensions included, before the voxels; and what may follow them."""
LARGEST_RATIO = 1032
"""Deflate cannot make more of a byte: a compressed file that claims more is refused unread."""
MOST_MEMBERS = 10_000
"""Gzip members in a file; `bgzip` writes one for every 64 kB."""
SPACING_MM = (0.05, 50.0)
LARGEST_EXTENT_MM = 1000.0
LARGEST_COORDINATE_MM = 10_000.0
LEAST_DETERMINANT = 0.1
"""Of the three unit vectors along the axes: 1 where they are orthogonal, 0 where they lie in a plane."""
FORMS_TOLERANCE_MM = 0.1
"""A qform is a rotation in single precision, so that it cannot repeat an sform exactly."""

CHUNK = 256 * 1024
GZIP = zlib.MAX_WBITS | 16
HEADERS = {348: (nib.Nifti1Header, 344, b"n+1\0"), 540: (nib.Nifti2Header, 4, b"n+2\0")}
"""By size: the header's class, and where which magic string stands in a file that holds header and voxels."""
OTHER_UNITS = {1: "metres", 3: "micrometres"}


@dataclass(frozen=True)
class ScanHeader:
    """What a sound header says.

    Attributes:
        path: the file.
        shape: voxels along the three axes.
        affine: (4, 4), voxel to world mm.
        dtype: as the voxels are stored.
        offset: the byte at which they begin.
        scale: factor and summand that make intensities of stored values.
    """

    path: Path
    shape: tuple[int, ...]
    affine: NDArray[np.float64]
    dtype: np.dtype
    offset: int
    scale: tuple[float, float]

    @property
    def end(self) -> int:
        """The byte behind the last voxel."""
        return self.offset + math.prod(self.shape) * self.dtype.itemsize


def read_header(path: Path) -> ScanHeader:
    """Read the header of a NIfTI file and check it against the file's size; no voxel is read.

    Raises:
        DataFaultError: with every fault of how it is stored, or else of where it lies.
    """
    block, size = _first_bytes(path)
    header = _parsed(path, block)
    shape = _shape(path, header)
    found = _stored(path, header, shape, size)
    affine, faults = _placed(path, header, shape)
    if faults:
        raise DataFaultError(faults)
    return ScanHeader(path, shape, affine, *found)


def read_voxels(header: ScanHeader) -> NDArray[np.float32]:
    """Read the intensities (I, J, K) that a header describes, I the innermost in memory, as they are stored.

    Compressed content is verified by its checksum. Values that single precision cannot hold become infinite.

    Raises:
        DataFaultError: where the content ends early, goes on for long, or is damaged.
    """
    most = header.end + LARGEST_HEADER
    content = _content(header.path, most + 1)
    if len(content) < header.end:
        raise DataFaultError(
            f"{header.path}: must be a readable NIfTI file, it may be truncated: {header.end} bytes are claimed and "
            f"{len(content)} are there"
        )
    if len(content) > most:
        raise DataFaultError(f"{header.path}: must end with its voxels, at byte {header.end}, but goes on for long")
    count = math.prod(header.shape)
    stored = np.frombuffer(content, header.dtype, count, header.offset).reshape(header.shape, order="F")
    factor, summand = header.scale
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(stored if header.scale == (1.0, 0.0) else stored * factor + summand, dtype=np.float32)


def corner_distance_mm(shape: tuple[int, ...], affine: np.ndarray, other: np.ndarray) -> float:
    """Give the largest distance in mm between the corners of a grid under two affines (4, 4)."""
    corners = np.array([[i, j, k, 1] for i in (0, shape[0] - 1) for j in (0, shape[1] - 1) for k in (0, shape[2] - 1)])
    return float(np.linalg.norm(corners @ (affine - other).T, axis=1).max())


def volume_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Give a shape without trailing axes of length 1 behind the third."""
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return tuple(int(length) for length in shape)


def _first_bytes(path: Path) -> tuple[bytes, int]:
    """Give the first bytes of the content, enough for any header, and the size of the file."""
    try:
        size = path.stat().st_size
        if not path.is_file():
            raise DataFaultError(f"{path}: must be a readable NIfTI file, and it is no file")
    except OSError as error:
        raise DataFaultError(f"{path}: must be a readable NIfTI file: {error.strerror}") from None
    if size > LARGEST_BYTES + 2 * LARGEST_HEADER:
        raise DataFaultError(f"{path}: must be a scan of at most {LARGEST_BYTES} bytes, got {size}")
    return bytes(_content(path, max(HEADERS), whole=False)), size


def _parsed(path: Path, block: bytes) -> nib.Nifti1Header:
    """Give the header that a file begins with, in whichever byte order."""
    for size, (kind, at, magic) in HEADERS.items():
        for order in "<>":
            if len(block) >= size and struct.unpack(f"{order}i", block[:4]) == (size,):
                if block[at : at + 4] == magic:
                    return kind(block[:size], order, check=False)
                raise DataFaultError(f"{path}: must be a NIfTI file that holds header and voxels, its magic is another")
    raise DataFaultError(f"{path}: must be a NIfTI file, got no header of one")


def _shape(path: Path, header: nib.Nifti1Header) -> tuple[int, ...]:
    dimensions = [int(length) for length in header["dim"]]
    if not 1 <= dimensions[0] <= 7:
        raise DataFaultError(f"{path}: must be a volume with three axes, got dim[0] {dimensions[0]}")
    claimed = tuple(dimensions[1 : dimensions[0] + 1])
    shape = volume_shape(claimed)
    if len(shape) != 3 or min(shape) < 1:
        raise DataFaultError(f"{path}: must be a volume with three axes, got shape {claimed}")
    if math.prod(shape) > LARGEST_VOXELS:
        raise DataFaultError(f"{path}: must have at most {LARGEST_VOXELS} voxels, its header claims shape {claimed}")
    return shape


def _stored(
    path: Path, header: nib.Nifti1Header, shape: tuple[int, ...], size: int
) -> tuple[np.dtype, int, tuple[float, float]]:
    """Give how the voxels are stored: their type, where they begin, factor and summand."""
    try:
        dtype = np.dtype(header.get_data_dtype())
    except Exception:  # nibabel raises what its tables of codes raise
        raise DataFaultError(f"{path}: must have a known data type, got code {int(header['datatype'])}") from None
    faults = []
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        faults.append(f"{path}: must hold real numbers of at most 64 bits, got {dtype.name}")
    begins = float(header["vox_offset"])
    least = int(header["sizeof_hdr"]) + 4
    offset = int(begins) if math.isfinite(begins) else -1
    if not least <= offset <= LARGEST_HEADER:
        faults.append(f"{path}: must have its voxels from byte {least} to {LARGEST_HEADER} on, got {begins:g}")
    slope, summand = float(header["scl_slope"]), float(header["scl_inter"])
    scale = (slope, summand) if slope and math.isfinite(slope) else (1.0, 0.0)
    if not math.isfinite(scale[1]):
        faults.append(f"{path}: must have a finite scl_inter beside its scl_slope, got {summand}")
    if faults:
        raise DataFaultError(faults)
    end = offset + math.prod(shape) * dtype.itemsize
    holds = size * (LARGEST_RATIO if path.name.endswith(".gz") else 1)
    if end > holds:
        raise DataFaultError(
            f"{path}: must be a readable NIfTI file, it may be truncated: its header claims {shape} voxels, {end} "
            f"bytes in all, and {size} bytes cannot hold that"
        )
    if size > end + LARGEST_HEADER:
        raise DataFaultError(f"{path}: must end with its voxels, after at most {end} bytes, but has {size}")
    return dtype, offset, scale


def _placed(path: Path, header: nib.Nifti1Header, shape: tuple[int, ...]) -> tuple[NDArray[np.float64], list[str]]:
    """Give the affine of the sform, or else of the qform, and the faults in where the voxels lie."""
    by_sform, by_qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    nowhere = np.full((4, 4), np.nan)
    if not (by_sform or by_qform):
        return nowhere, [f"{path}: must place its voxels in the world by a qform or an sform, both codes are 0"]
    faults = []
    if (unit := int(header["xyzt_units"]) & 7) in OTHER_UNITS:
        faults.append(f"{path}: must measure lengths in mm, its header says {OTHER_UNITS[unit]}")
    sizes = np.array(header["pixdim"][1:4], float)
    sized = bool(np.isfinite(sizes).all() and (sizes > 0).all())
    if not sized:
        faults.append(f"{path}: must have voxel sizes (pixdim) above 0 mm, got {sizes.tolist()}")
    sform = np.asarray(header.get_sform(), float) if by_sform else None
    qform = _qform(header) if by_qform and sized else None
    if by_qform and sized and qform is None:
        faults.append(f"{path}: must have a qform that is a rotation, got quatern_b, c, d {_quaternion(header)}")
    affine = qform if sform is None else sform
    if affine is None:
        return nowhere, faults
    faults += _affine_faults(path, affine, shape)
    if not faults and sform is not None and qform is not None:
        distance_mm = corner_distance_mm(shape, sform, qform)
        if not distance_mm <= FORMS_TOLERANCE_MM:
            faults.append(
                f"{path}: must lie where both qform and sform say, but a corner lies {distance_mm:.2f} mm apart; set "
                "the code of the wrong one to 0"
            )
    return affine, faults


def _qform(header: nib.Nifti1Header) -> NDArray[np.float64] | None:
    """Give the affine of the qform; None where its quaternion is none."""
    if header["pixdim"][0] not in (1, -1):
        header["pixdim"][0] = 1  # as the format says of 0
    try:
        return np.asarray(header.get_qform(), float)
    except (ValueError, HeaderDataError):
        return None


def _quaternion(header: nib.Nifti1Header) -> list[float]:
    return [round(float(header[f"quatern_{name}"]), 4) for name in "bcd"]


def _affine_faults(path: Path, affine: NDArray[np.float64], shape: tuple[int, ...]) -> list[str]:
    """Name what no scan's affine has; shear is allowed as long as the axes are axes."""
    rows = [[float(f"{value:.6g}") for value in row] for row in affine[:3]]
    if not np.isfinite(affine).all() or np.abs(affine).max() > LARGEST_COORDINATE_MM:
        return [f"{path}: must have an affine with finite values up to {LARGEST_COORDINATE_MM:g} mm, got {rows}"]
    spacing_mm = np.linalg.norm(affine[:3, :3], axis=0)
    volume = float(np.prod(spacing_mm))
    if volume == 0 or abs(np.linalg.det(affine[:3, :3])) < LEAST_DETERMINANT * volume:
        return [f"{path}: must have an invertible affine, got {rows}"]
    faults = []
    if spacing_mm.min() < SPACING_MM[0] or spacing_mm.max() > SPACING_MM[1]:
        faults.append(
            f"{path}: must have voxels of {SPACING_MM[0]:g} to {SPACING_MM[1]:g} mm, got {spacing_mm.round(6).tolist()}"
        )
    elif (extent_mm := (spacing_mm * shape).max()) > LARGEST_EXTENT_MM:
        faults.append(f"{path}: must measure at most {LARGEST_EXTENT_MM:g} mm along an axis, got {extent_mm:.0f} mm")
    return faults


def _content(path: Path, most: int, whole: bool = True) -> bytes | bytearray:
    """Give the first bytes of a file's content, `most` at most, inflated where its name says that it is compressed.

    Where that is all, a compressed file must end properly; where not `whole`, that does not matter.
    """
    try:
        with path.open("rb") as stream:
            if not path.name.endswith(".gz"):
                return stream.read(most)
            try:
                return _inflated(stream, most, whole, isal_zlib)
            except (isal_zlib.error, EOFError):  # type: ignore[misc]  # zlib has the last word, and says more exactly why
                stream.seek(0)
                return _inflated(stream, most, whole, zlib)
    except (zlib.error, EOFError) as error:
        raise DataFaultError(f"{path}: must be a readable NIfTI file, it may be damaged: {error}") from None
    except OSError as error:
        raise DataFaultError(f"{path}: must be a readable NIfTI file: {error.strerror or error}") from None


def _inflated(stream: BinaryIO, most: int, whole: bool, library: Any) -> bytearray:
    """Inflate gzip members, one after the other; zeros may follow each.

    `library` is zlib, or ISA-L's module of the same functions, which takes half of the time.
    """
    content, data = bytearray(), stream.read(CHUNK)
    for _ in range(MOST_MEMBERS):
        engine = library.decompressobj(GZIP)
        while data and not engine.eof and len(content) < most:
            content += engine.decompress(data, most - len(content))
            data = engine.unused_data if engine.eof else engine.unconsumed_tail or stream.read(CHUNK)
        if len(content) >= most or not (engine.eof or whole):
            return content
        if not engine.eof:
            raise EOFError("the compressed stream ends early")
        while not (data := data.lstrip(b"\0")):
            data = stream.read(CHUNK)
            if not data:
                return content
    raise zlib.error(f"more than {MOST_MEMBERS} gzip members")
