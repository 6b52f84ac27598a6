"""Synthetic patients in the layout of MS-CMRSeg 2019, with a known misalignment between cine and LGE."""

from jointnet.phantom.writer import PHANTOM_VERSION, write_phantom

__all__ = ["PHANTOM_VERSION", "write_phantom"]
