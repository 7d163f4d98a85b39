"""The node side of Stillroom: one agent per node that claims runs, executes each in a process of its own, and reports.

Speaks HTTP with a node token and knows no database. Nothing here imports jax or torch: the run's own process does.
"""
