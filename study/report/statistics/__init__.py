"""Tests and intervals of paired values, comparisons of arms, and claims stated in advance."""
