"""Alerts: rules over runs, what they found, and its delivery by e-mail and signed webhooks."""
