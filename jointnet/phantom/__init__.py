"""Synthetic patients in the layout of MS-CMRSeg 2019, with a known misalignment between cine and LGE."""
