"""The page on which a prediction is looked at: what it shows, and the server that gives it to one browser."""
