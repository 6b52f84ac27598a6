"""A whole study, from its plan to its recorded test."""
