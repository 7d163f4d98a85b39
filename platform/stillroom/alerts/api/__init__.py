"""Doors to alert rules and webhooks."""

from stillroom.alerts.api import rules, webhooks

doors = (rules.door, webhooks.door)
