"""What a folder of any layout holds, and the `dataset.toml` that describes it."""
