"""Search files: their tables, and the rules between their values."""
