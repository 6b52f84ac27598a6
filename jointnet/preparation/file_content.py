"""The content of a file, decompressed, in bounded time and memory."""

import zlib
from pathlib import Path
from typing import Any, BinaryIO

from isal import isal_zlib

from jointnet.errors import DataError

MOST_MEMBERS = 10_000
"""Largest number of gzip members in a file. `bgzip` writes one for every 64 kB."""
CHUNK = 256 * 1024
LARGEST_PIECE = 4 * CHUNK
"""Number of bytes that are decompressed at once at most, so that what is not kept takes little memory."""
GZIP = zlib.MAX_WBITS | 16
GZIP_BEGINS = b"\x1f\x8b"


class Content:
    """The length of what was read of a file's content, and the part of it that is kept in memory.

    Attributes:
        length: number of bytes read.
        kept: the bytes from the first to before the last that are wanted.
    """

    def __init__(self, part: tuple[int, int]) -> None:
        self.length, self.kept, self._part = 0, bytearray(), part

    def add(self, piece: bytes) -> None:
        """Keep what is wanted of the next piece."""
        first, last = self._part
        self.kept += piece[max(first - self.length, 0) : max(last - self.length, 0)]
        self.length += len(piece)


def file_content(path: Path, most: int, complete: bool = True, part: tuple[int, int] | None = None) -> Content:
    """Read at most the first `most` bytes of a file's content, decompressed if its name ends in `.gz`.

    Args:
        path: the file.
        most: largest number of bytes to read.
        complete: whether a compressed file with fewer than `most` bytes must be complete.
        part: first byte, and byte after the last, that are kept; all if None.

    Raises:
        DataError: if the file cannot be read, is damaged, or is compressed without a name that ends in `.gz`.
    """
    part = (0, most) if part is None else part
    try:
        with path.open("rb") as stream:
            named, compressed = path.name.endswith(".gz"), stream.read(len(GZIP_BEGINS)) == GZIP_BEGINS
            stream.seek(0)
            if compressed and not named:
                raise DataError(f"{path}: must be a NIfTI file; it is compressed by gzip: let its name end in .gz")
            if not named:
                content = Content(part)
                while piece := stream.read(min(CHUNK, most - content.length)):
                    content.add(piece)
                return content
            try:
                return _inflated(stream, most, complete, part, isal_zlib)
            except (isal_zlib.error, EOFError):  # type: ignore[misc]  # zlib decides, with better messages
                stream.seek(0)
                return _inflated(stream, most, complete, part, zlib)
    except (zlib.error, EOFError) as error:
        if not compressed:
            raise DataError(
                f"{path}: must be a NIfTI file compressed by gzip, as its name implies, but does not begin like one "
                f"({error}); compress it, or let its name end in .nii"
            ) from None
        raise DataError(f"{path}: must be a readable NIfTI file, it may be damaged: {error}") from None
    except OSError as error:
        raise DataError(f"{path}: must be a readable NIfTI file: {error.strerror or error}") from None


def _inflated(stream: BinaryIO, most: int, complete: bool, part: tuple[int, int], library: Any) -> Content:
    """Decompress consecutive gzip members; zero bytes may follow each.

    `library` is zlib, or ISA-L's module with the same functions, which takes half the time.
    """
    content, data = Content(part), stream.read(CHUNK)
    for _ in range(MOST_MEMBERS):
        engine = library.decompressobj(GZIP)
        while data and not engine.eof and content.length < most:
            content.add(engine.decompress(data, min(most - content.length, LARGEST_PIECE)))
            data = engine.unused_data if engine.eof else engine.unconsumed_tail or stream.read(CHUNK)
        if content.length >= most or not (engine.eof or complete):
            return content
        if not engine.eof:
            raise EOFError("the compressed stream ends early")
        while not (data := data.lstrip(b"\0")):
            data = stream.read(CHUNK)
            if not data:
                return content
    raise zlib.error(f"more than {MOST_MEMBERS} gzip members")
