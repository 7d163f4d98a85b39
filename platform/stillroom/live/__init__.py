"""Live views: subscribe, replay, follow."""
