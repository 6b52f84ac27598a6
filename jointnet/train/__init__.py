"""Training of one model: `python -m jointnet.train`, its epochs, losses, augmentation and checkpoints."""
