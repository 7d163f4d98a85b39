"""The console's pages for organisations, people, tokens and the audit trail."""

from stillroom.tenants.admin import organisations, people, records

__all__ = ["organisations", "people", "records"]
