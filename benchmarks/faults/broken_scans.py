"""A small valid patient in the challenge's layout, and mutations of its files: bytes, gzip streams, headers, voxels."""

import gzip
import io
import struct
import zlib
from collections.abc import Callable
from functools import cache

import nibabel as nib
import numpy as np

SECRET = "SECRET-NAME"
"""Content of every free-text field of every header. It must never appear in a message."""
SPECIAL = (0, 1, -1, 2, 3, 7, 8, 127, 255, 1000, 32767, -32768, 65535)
REAL = (0.0, -0.0, 1.0, -1.0, np.nan, np.inf, -np.inf, 1e-30, 1e30, -1e30, 3e38, 1e-45, 0.5, 4.0, 352.0, 348.0, 1e9)
FIELDS = (
    *("dim", "pixdim", "datatype", "bitpix", "vox_offset", "scl_slope", "scl_inter", "qform_code", "sform_code"),
    *("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_z", "srow_x", "srow_y", "srow_z", "magic"),
    *("xyzt_units", "intent_code", "sizeof_hdr", "glmin", "dim_info", "cal_max", "slice_code", "slice_end"),
)
DATATYPES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304, 9999)


@cache
def sound_patient() -> dict[str, bytes]:
    """Return the four files of a patient by name. The scans show discs on two oblique grids."""
    files = {}
    for name, shape, spacing_mm in (("C0", (40, 36, 2), (3, 3, 10)), ("LGE", (44, 48, 3), (2.5, 2.5, 6))):
        directions = np.array([[-0.64, 0.37, 0.67], [-0.74, -0.12, -0.65], [-0.2, -0.92, 0.34]])
        directions, _ = np.linalg.qr(directions)
        affine = np.eye(4)
        affine[:3, :3] = directions * spacing_mm
        affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
        plane = [(np.arange(n) - (n - 1) / 2) * s for n, s in zip(shape[:2], spacing_mm[:2], strict=True)]
        radius = np.hypot(plane[0][:, None], plane[1][None, :])
        label = np.select([radius < 12, radius < 20], [500, 200], 0)
        label[np.hypot(plane[0][:, None] + 30, plane[1][None, :]) < 9] = 600
        labels = np.repeat(label[:, :, None], shape[2], 2).astype(np.int16)
        noise = np.random.default_rng(0).normal(0, 5, shape)
        for suffix, data in (("", (labels + 50 + noise).astype(np.float32)), ("_manual", labels)):
            image = nib.Nifti1Image(data, affine)
            image.header.set_qform(affine, 1)
            image.header.set_sform(affine, 1)
            for text in ("descrip", "aux_file", "intent_name", "db_name"):
                image.header[text] = SECRET
            image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", SECRET.encode()))
            files[f"patient1_{name}{suffix}.nii.gz"] = gzip.compress(image.to_bytes(), 1, mtime=0)
    return files


def broken_scan(data: bytes, rng: np.random.Generator) -> bytes:
    """Return the compressed NIfTI file with one to three mutations."""
    for _ in range(int(rng.integers(1, 4))):
        if rng.random() < 0.7:
            raw = _inflated(data)
            mutation = _pick(
                rng, (_header_field, _header_field, _header_field, _header_field, _bits, _cut, _voxels, _swap)
            )
            data = gzip.compress(bytes(mutation(raw, rng)), 1, mtime=0)
        else:
            mutation = _pick(rng, (_bits, _cut, _members, _bomb, _trailer, _gzip_header, _stored, _bytes))
            data = bytes(mutation(bytearray(data), rng))
    return data


def _inflated(data: bytes | bytearray) -> bytearray:
    """Return the first megabyte of the decompressed content, or the data themselves where they are damaged."""
    try:
        return bytearray(zlib.decompressobj(31).decompress(bytes(data), 1024 * 1024)) or bytearray(data)
    except zlib.error:
        return bytearray(data)


Mutation = Callable[[bytearray, np.random.Generator], bytearray]


def _pick(rng: np.random.Generator, choices: tuple[Mutation, ...]) -> Mutation:
    return choices[int(rng.integers(len(choices)))]


def _header_field(raw: bytearray, rng: np.random.Generator) -> bytearray:
    """Write an unusual value to a random field of the header."""
    if len(raw) < 348:
        return raw
    header = nib.Nifti1Header(bytes(raw[:348]), "<", check=False)
    name = FIELDS[int(rng.integers(len(FIELDS)))]
    field = np.atleast_1d(header[name])
    kind = field.dtype.kind
    if kind == "S":
        header[name] = [b"ni1", b"n+2", b"", b"\xff\xfe\xfd"][int(rng.integers(4))]
    elif name == "datatype":
        header[name] = DATATYPES[int(rng.integers(len(DATATYPES)))]
    else:
        values = REAL if kind == "f" else SPECIAL
        value = values[int(rng.integers(len(values)))]
        if rng.random() < 0.3:
            value = float(rng.normal(0, 50)) if kind == "f" else int(rng.integers(-40, 400))
        limits = None if kind == "f" else np.iinfo(field.dtype)
        value = value if limits is None else int(np.clip(value, limits.min, limits.max))
        if field.size > 1:
            changed = np.array(header[name])
            changed[int(rng.integers(field.size))] = value
            header[name] = changed
        else:
            header[name] = value
    raw[:348] = header.binaryblock
    return raw


def _voxels(raw: bytearray, rng: np.random.Generator) -> bytearray:
    """Overwrite some voxels with unusual values, floats or integers."""
    at = int(rng.integers(min(352, len(raw) - 1), len(raw)))
    count = int(rng.integers(1, 20))
    if rng.random() < 0.5:
        strange = np.array([REAL[int(i)] for i in rng.integers(0, len(REAL), count)], np.float32).tobytes()
    else:
        strange = rng.choice(np.array([1, 199, 200, 500, 600, -500, 32767], np.int16), count).tobytes()
    raw[at : at + len(strange)] = strange
    return raw


def _bits(raw: bytearray, rng: np.random.Generator) -> bytearray:
    for at in rng.integers(0, len(raw) if rng.random() < 0.5 else min(360, len(raw)), int(rng.integers(1, 9))):
        raw[int(at)] ^= 1 << int(rng.integers(8))
    return raw


def _bytes(raw: bytearray, rng: np.random.Generator) -> bytearray:
    at = int(rng.integers(len(raw)))
    raw[at : at + 32] = rng.bytes(32)
    return raw


def _cut(raw: bytearray, rng: np.random.Generator) -> bytearray:
    return raw[: int(rng.integers(1, len(raw) + 1))]


def _swap(raw: bytearray, rng: np.random.Generator) -> bytearray:
    """Convert the header to the other byte order. The voxels are unchanged."""
    if len(raw) < 348:
        return raw
    raw[:348] = nib.Nifti1Header(bytes(raw[:348]), "<", check=False).as_byteswapped(">").binaryblock
    return raw


def _members(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Add gzip members before or after the data: a copy of the data, or up to 30,000 empty members."""
    more = bytes(data) if rng.random() < 0.3 else gzip.compress(b"", mtime=0) * int(rng.integers(1, 30_000))
    return bytearray(more + data if rng.random() < 0.5 else data + more)


@cache
def _zeros() -> bytes:
    stream = io.BytesIO()
    with gzip.GzipFile(fileobj=stream, mode="wb", compresslevel=9, mtime=0) as packed:
        for _ in range(64):
            packed.write(bytes(1024 * 1024))
    return stream.getvalue()


def _bomb(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Append 64 MB of compressed zeros, with the old trailer or without it, or replace the data by them."""
    if rng.random() < 0.5:
        return data + _zeros()
    if rng.random() < 0.5:
        return bytearray(_zeros())
    return bytearray(gzip.compress(bytes(_inflated(data)), 1, mtime=0)[:-8] + _zeros())


def _trailer(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Damage the checksum and the length, or append zeros or random bytes."""
    match rng.integers(0, 3):
        case 0:
            data[-8:] = struct.pack("<II", int(rng.integers(2**32)), int(rng.integers(2**32)))
        case 1:
            data += bytes(int(rng.integers(1, 5000)))
        case _:
            data += rng.bytes(int(rng.integers(1, 5000)))
    return data


def _gzip_header(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Overwrite a random byte of the gzip header, such as its flags, or insert a file name of up to 3 MB."""
    if len(data) < 12:
        return data
    if rng.random() < 0.5:
        data[int(rng.integers(2, 10))] = int(rng.integers(256))
        return data
    data[3] |= 8
    return data[:10] + bytearray(b"x" * int(rng.integers(1, 3_000_000))) + b"\0" + data[10:]


def _stored(data: bytearray, rng: np.random.Generator) -> bytearray:
    """Decompress the data, while the file name still ends in `.gz`, or compress them twice."""
    return bytearray(gzip.compress(data, 1, mtime=0)) if rng.random() < 0.5 else _inflated(data)
