"""What will be done, what it costs, which study it is, and saying so."""
