"""Search spaces, splits and cross-validation folds, all checked before a study starts."""
