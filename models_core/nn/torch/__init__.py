"""PyTorch twins of the networks: the same parameters, the same numbers."""
