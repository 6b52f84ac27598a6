"""`python -m study.run`: runs a study from its plan to its report."""
