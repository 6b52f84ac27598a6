"""The report of a study. It reads only the tracking store and imports neither torch nor ray."""
