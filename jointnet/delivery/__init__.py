"""What a prediction is handed over with, on the scans' own grids."""
