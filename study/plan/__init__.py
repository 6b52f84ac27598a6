"""The plan of a study: its content, cost and identity, and its text for the terminal."""
