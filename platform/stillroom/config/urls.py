"""Routes."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path, re_path

from stillroom.config import pages
from stillroom.config.api import api

urlpatterns = [
    path("healthz", pages.healthz),
    path("readyz", pages.readyz),
    path("metrics", pages.metrics),
    path("api/v1/", api.urls),
    path("", include("stillroom.mlflow.urls")),
    path("_allauth/", include("allauth.headless.urls")),
    path("accounts/", include("allauth.urls")),
    path("admin/", admin.site.urls),
    re_path(r"^(?P<path>.*)$", pages.app),
]
