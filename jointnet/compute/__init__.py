"""The device that networks compute on, and operations that are faster on a CPU than torch's own.

- `device`: the device, and the numerical precision on it.
- `instance_norm`: instance normalisation of maps in channels-last order, faster on a CPU; elsewhere it is torch's own.
- `maps`: pooling, interpolation and the likeliest class of maps with few channels, faster on a CPU.
- `allocator`: settings of glibc, so that a process keeps the memory that a training frees.

Results on a CPU differ from torch's by rounding at most. Two more such choices stand beside what they belong to:
`geometry.moved_centres` instead of `affine_grid`, and the number of threads in `system.quota`.
"""
