"""Files, locks, processes and terminals."""
