"""What the search found: which parameters matter, pictures of the trials, doubts about a winner."""
