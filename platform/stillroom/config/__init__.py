"""Composition root: settings, environment, routes, and the ASGI and Celery applications."""
