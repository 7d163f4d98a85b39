"""Organisations, who belongs to them with which role, API tokens, and the audit trail."""
