"""The instrument: searches, tracks, selects, tests once and reports. It uses `jointnet` and is used by nobody."""

import jointnet  # noqa: F401 - completes the environment, which MLflow and Ray read as soon as they are imported
