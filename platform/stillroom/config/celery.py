"""The server's Celery application: it only publishes wake-ups. Nothing is decided from a message."""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stillroom.config.settings")

from django.conf import settings

app = Celery("stillroom")
app.conf.update(
    broker_url=settings.REDIS_URL,
    task_acks_late=False,
    task_reject_on_worker_lost=False,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    task_serializer="json",
    accept_content=["json"],
    result_accept_content=["json"],
    broker_transport_options={
        "visibility_timeout": 3600,
        "socket_timeout": 30,
        "socket_connect_timeout": 3,
        "socket_keepalive": True,
        "health_check_interval": 25,
        "global_keyprefix": "sr:",
    },
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    task_create_missing_queues=False,
)
app.set_default()
