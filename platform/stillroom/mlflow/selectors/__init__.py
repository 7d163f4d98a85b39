"""What clients read, as MLflow renders it."""
