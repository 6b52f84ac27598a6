"""The selection of one trial per arm, and the evaluation on the sealed test patients."""
