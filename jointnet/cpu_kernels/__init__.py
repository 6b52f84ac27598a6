"""What only makes a CPU faster. On a GPU nothing here matters; results differ by rounding at most.

- `instance_norm`: instance normalisation of maps in channels-last order; elsewhere it is torch's own.
- `maps`: pooling, interpolation and the likeliest class of maps with few channels.
- `allocator`: settings of glibc, so that a process keeps the memory that a training frees.

Two more such paths stand beside what they belong to: `geometry.moved_centres` instead of `affine_grid`, and the number
of threads in `system.quota`.
"""
