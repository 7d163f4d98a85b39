"""The console's pages for nodes, devices, kinds and quotas."""

from stillroom.scheduling.admin import nodes, quotas

__all__ = ["nodes", "quotas"]
