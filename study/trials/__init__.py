"""One training and what became of it; what runs next and what stops, decided from the outcomes alone."""
