"""Figures of a study and pictures of its test patients."""
