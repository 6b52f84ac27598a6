"""The instrument: searches, tracks, selects, tests once and reports. It uses `jointnet` and is used by nobody."""
