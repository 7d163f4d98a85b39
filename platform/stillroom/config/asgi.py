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

from stillroom.core.serving import Intake, PooledHandler  # noqa: E402
from stillroom.live.admission import Admission  # noqa: E402
from stillroom.live.consumers import LiveConsumer  # noqa: E402
from stillroom.tenants.intake import somebody  # noqa: E402

# A file may come with the form around it.
AROUND_BYTES = 1024 * 1024
LARGEST_FILE_BYTES = max(settings.ENV.max_artifact_bytes, settings.ENV.max_import_bytes)
intake = Intake(anybody=settings.ENV.max_batch_bytes, known_callers=LARGEST_FILE_BYTES + AROUND_BYTES, known=somebody)

application = ProtocolTypeRouter(
    {"http": PooledHandler(intake), "websocket": Admission(URLRouter([path("ws/live", LiveConsumer.as_asgi())]))}
)
