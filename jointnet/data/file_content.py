"""Reading a limited number of bytes of a file that may be compressed by gzip."""

import zlib
from pathlib import Path
from typing import Any, BinaryIO

from isal import isal_zlib

from jointnet.errors import DataError

MOST_MEMBERS = 10_000
"""Largest number of gzip members in a file. `bgzip` writes one for every 64 kB."""
CHUNK = 256 * 1024
GZIP = zlib.MAX_WBITS | 16
GZIP_BEGINS = b"\x1f\x8b"


def file_content(path: Path, most: int, whole: bool = True) -> bytes | bytearray:
    """Return at most the first `most` bytes of a file's content, decompressed if its name ends in `.gz`.

    Args:
        path: the file.
        most: largest number of bytes to return.
        whole: whether a compressed file with fewer than `most` bytes must be complete.

    Raises:
        DataError: if the file cannot be read, is damaged, or is compressed without a name that ends in `.gz`.
    """
    try:
        with path.open("rb") as stream:
            named, compressed = path.name.endswith(".gz"), stream.read(len(GZIP_BEGINS)) == GZIP_BEGINS
            stream.seek(0)
            if compressed and not named:
                raise DataError(f"{path}: must be a NIfTI file; it is compressed by gzip: let its name end in .gz")
            if not named:
                return stream.read(most)
            try:
                return _inflated(stream, most, whole, isal_zlib)
            except (isal_zlib.error, EOFError):  # type: ignore[misc]  # zlib decides, with better messages
                stream.seek(0)
                return _inflated(stream, most, whole, zlib)
    except (zlib.error, EOFError) as error:
        if not compressed:
            raise DataError(
                f"{path}: must be a NIfTI file compressed by gzip, as its name says, but does not begin like one "
                f"({error}); compress it, or let its name end in .nii"
            ) from None
        raise DataError(f"{path}: must be a readable NIfTI file, it may be damaged: {error}") from None
    except OSError as error:
        raise DataError(f"{path}: must be a readable NIfTI file: {error.strerror or error}") from None


def _inflated(stream: BinaryIO, most: int, whole: bool, library: Any) -> bytearray:
    """Decompress consecutive gzip members; zero bytes may follow each.

    `library` is zlib, or ISA-L's module with the same functions, which takes half the time.
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
