"""The networks of `models_core.nn` in PyTorch: the same parameter names, layouts and numbers."""
