"""Kernels and memory settings that only make training and prediction on a CPU faster."""
