"""The distillation losses, sparse targets and training step in PyTorch; the same formulas and the same options."""
