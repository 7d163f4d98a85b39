"""Pages that are not API: the web app's shell, health, readiness, metrics."""

from __future__ import annotations

from functools import cache

import redis
from django.conf import settings
from django.db import OperationalError, connections
from django.db.migrations.executor import MigrationExecutor
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_safe
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from psycopg_pool import PoolTimeout

from stillroom.core.tenancy import APP


@require_safe
@ensure_csrf_cookie
def app(request: HttpRequest, path: str = "") -> HttpResponse:
    """The shell of the web app, for every address that the app routes itself."""
    if path.startswith(("api/", "static/", "_allauth/")):
        raise Http404
    index = settings.FRONTEND_DIST / "index.html"
    if not index.is_file():
        return HttpResponse(
            "The web app is not built. Run `make up`, or `npm run build` in frontend/.",
            status=503,
            content_type="text/plain",
        )
    response = HttpResponse(index.read_bytes(), content_type="text/html; charset=utf-8")
    response["Cache-Control"] = "no-cache"
    return response


@require_safe
def healthz(request: HttpRequest) -> HttpResponse:
    """The process answers."""
    return JsonResponse({"status": "ok"})


@require_safe
def readyz(request: HttpRequest) -> HttpResponse:
    """Database, migrations and Valkey are there. Valkey's absence is reported but does not make the process unready."""
    checks = {"database": _database(), "valkey": _valkey()}
    ready = checks["database"] == "ok"
    return JsonResponse({"status": "ready" if ready else "not ready", "checks": checks}, status=200 if ready else 503)


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus metrics of this process."""
    return HttpResponse(generate_latest(), content_type=CONTENT_TYPE_LATEST)


def _database() -> str:
    try:
        with connections[APP].cursor() as cursor:
            cursor.execute("select count(*) from django_migrations")
            applied = cursor.fetchone()[0]
    except (OperationalError, PoolTimeout) as error:
        return f"away: {str(error).strip()[:200]}"
    return "ok" if applied >= _known_migrations() else "migrations are missing"


@cache
def _known_migrations() -> int:
    return len(MigrationExecutor(None).loader.disk_migrations)


def _valkey() -> str:
    try:
        with redis.Redis.from_url(settings.REDIS_URL, socket_timeout=1, socket_connect_timeout=1) as client:
            client.ping()
    except (redis.RedisError, OSError) as error:
        return f"away: {str(error)[:200]}"
    return "ok"
