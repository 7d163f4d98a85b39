"""The ASGI application: HTTP by Django, `/ws/live` by Channels."""

from __future__ import annotations

import os

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "stillroom.config.settings")
django.setup(set_prefix=False)

from django.conf import settings  # noqa: E402  (Django must be set up first)

from stillroom.config.env import EnvError  # noqa: E402

if not settings.ENV.secret_key:
    raise EnvError("STILLROOM_SECRET_KEY is not set: nothing may be signed with a key that everybody knows.")

from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402

from stillroom.core.serving import PooledHandler  # noqa: E402
from stillroom.live.admission import Admission  # noqa: E402
from stillroom.live.consumers import LiveConsumer  # noqa: E402

application = ProtocolTypeRouter(
    {"http": PooledHandler(), "websocket": Admission(URLRouter([path("ws/live", LiveConsumer.as_asgi())]))}
)
