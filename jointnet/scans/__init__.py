"""From files to slices on the common grid, and what a folder holds."""
