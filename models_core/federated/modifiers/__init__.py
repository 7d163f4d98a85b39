"""What can be laid over any algorithm: distillation from the server's own past, and averages of its models."""
