"""What MLflow is told, in order, however long it is away."""
