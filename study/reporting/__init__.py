"""From the tracking store to the report: it reads nothing else, and loads neither torch nor ray."""
