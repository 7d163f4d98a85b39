"""The training loop in PyTorch: the same arithmetic as `models_core.training`, held equal by tests."""
