"""The batches that a training step reads: slice pairs of patients, their augmentation, and synthetic pairs."""
