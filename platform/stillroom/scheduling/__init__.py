"""Nodes, devices, quotas, leases and the decision who runs next."""
