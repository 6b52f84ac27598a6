"""Figures, and pictures of patients."""
