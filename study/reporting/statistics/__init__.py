"""Tests and intervals of paired values, arms compared, and what was claimed in advance."""
