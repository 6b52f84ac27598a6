"""Synthetic patients in the layout of MS-CMRSeg 2019, with a known misalignment between cine and LGE."""

from jointnet.phantom.patient import true_scar
from jointnet.phantom.writer import PHANTOM_VERSION, write_phantom

__all__ = ["PHANTOM_VERSION", "true_scar", "write_phantom"]
