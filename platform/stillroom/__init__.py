"""The web side of Stillroom: one Django app per domain."""
