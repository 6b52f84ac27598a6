"""Preparation of scans: read and check files, resample to the common grid, and cache prepared patients."""
