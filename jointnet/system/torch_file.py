"""Safe reading of `torch.save` files: checksums are verified, no code is executed, and memory use is limited.

torch itself does not verify the checksums in its archives, so it would not detect a flipped bit.
"""

import io
import zipfile
from typing import Any

import torch


def read_torch(content: bytes, device: str = "cpu") -> Any:
    """Return the content of a `torch.save` archive. Only tensors and plain values are allowed (`weights_only`).

    Raises:
        ValueError: if it is not such an archive, or is damaged.
        Exception: any exception of `torch.load`.
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
