"""The web page that shows predictions: its content, and the server for one browser."""
