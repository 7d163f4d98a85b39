"""Doors of agents, and to nodes, quotas and usage."""

from stillroom.scheduling.api import agent, capacity

doors = (agent.door, capacity.door)
