"""What is asked, and of which patients: search spaces, splits and folds, checked before anything starts."""
