"""One machine, no installation: embedded PostgreSQL and Valkey, and the supervisor behind `manage.py up`.

Production does not use this package: there `DATABASE_URL` and `REDIS_URL` name real servers and an init system or
container engine does the supervising.
"""
