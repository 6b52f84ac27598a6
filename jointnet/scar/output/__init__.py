"""The files of one heart's results: tables, volumes, surfaces and pictures."""
