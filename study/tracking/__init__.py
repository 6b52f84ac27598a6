"""Writing to MLflow: the queue of writes, the tracking store, its runs and its model registry."""
