"""Leases, devices, nodes: every change on the machine side."""
