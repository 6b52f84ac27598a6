"""Reading what `torch.save` wrote: verified, without running anything in it, and no larger than it is.

torch itself does not compare the checksums in its archives, so a flipped bit would be a weight like any other.
"""

import io
import zipfile
from typing import Any

import torch


def read_torch(content: bytes, device: str = "cpu") -> Any:
    """Give what is in an archive of `torch.save`: tensors and plain values only, since `weights_only` knows no others.

    Raises:
        ValueError: where it is no such archive, or damaged.
        Exception: whatever torch's own readers meet.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            if any(member.compress_type != zipfile.ZIP_STORED for member in members):
                raise ValueError("its members must be stored, not compressed")
            if sum(member.file_size for member in members) > len(content):
                raise ValueError("its members claim to be larger than the file")
            if (damaged := archive.testzip()) is not None:
                raise ValueError(f"{damaged} is damaged")
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError) as error:
        raise ValueError(str(error)) from None
    return torch.load(io.BytesIO(content), map_location=device, weights_only=True)
