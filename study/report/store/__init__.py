"""A study as read from the tracking store: its runs as records, and the rows of its test evaluation."""
