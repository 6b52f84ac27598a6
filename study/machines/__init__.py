"""Ray's nodes: started here or joined, what each must have, and what a result was made on."""
