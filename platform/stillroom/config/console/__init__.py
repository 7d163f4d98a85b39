"""The admin console: its site, its pages, and what they show. Every view runs inside `admin_tx`."""
