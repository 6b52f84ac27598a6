"""Output files of a prediction on the scans' own grids."""
