"""Results of the search: parameter importance, figures of the trials, and warnings about the selected trial."""
