"""The site at `/admin/`: every view inside `admin_tx`, sign-in through the web app.

Models register with the site while their modules load, and the site's pages use those modules; so the pages are
imported when they are first asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import update_wrapper
from typing import Any
from urllib.parse import urlencode

from django.contrib.admin import ModelAdmin
from django.contrib.auth import logout
from django.core.exceptions import PermissionDenied
from django.db.models import Model
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST
from unfold.sites import UnfoldAdminSite

from stillroom.core.tenancy import admin_tx

View = Callable[..., HttpResponseBase]


class ConsoleSite(UnfoldAdminSite):  # type: ignore[misc]
    """Unfold's site, fenced: the scope of stillroom_admin is open from the first query to the last rendered byte."""

    index_template = "console/overview.html"
    index_title = "Overview"

    def register(
        self, model_or_iterable: Any, admin_class: type[ModelAdmin[Any]] | None = None, **options: Any
    ) -> None:
        """Only the platform's own models: tables of libraries are not edited by hand."""
        models: Iterable[type[Model]] = (
            [model_or_iterable] if isinstance(model_or_iterable, type) else list(model_or_iterable)
        )
        ours = [model for model in models if model.__module__.startswith("stillroom.")]
        super().register(ours, admin_class, **options)

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        """Check the person first, then run the view and render its answer inside the admin scope."""

        def fenced(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
            with admin_tx():
                response = view(request, *args, **kwargs)
                render = getattr(response, "render", None)
                return render() if callable(render) else response

        checked: View = super().admin_view(update_wrapper(fenced, view), cacheable)
        return checked

    def extra_urls(self) -> list[URLPattern]:
        """Pages that belong to no single model."""
        from stillroom.config.console.queue import act_page, queue_page
        from stillroom.config.console.usage import usage_csv, usage_page

        return [
            path("queue/", self.admin_view(self._page(queue_page)), name="queue"),
            path("queue/<str:act>/", self.admin_view(self._page(act_page)), name="act"),
            path("usage/", self.admin_view(self._page(usage_page)), name="usage"),
            path("usage.csv", self.admin_view(self._page(usage_csv)), name="usage_csv"),
        ]

    def _page(self, view: View) -> View:
        """Give a page what every page of the site shows around it."""

        def framed(request: HttpRequest, **kwargs: Any) -> HttpResponseBase:
            request.current_app = self.name
            return view(request, self.each_context(request), **kwargs)

        return update_wrapper(framed, view)

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The overview."""
        from stillroom.config.console.overview import overview

        context = {**overview(), "content_title": "Overview", **(extra_context or {})}
        response: HttpResponse = super().index(request, context)
        return response

    def app_index(
        self, request: HttpRequest, app_label: str, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseRedirect:
        """Breadcrumbs lead here; the sidebar is the list of pages."""
        return HttpResponseRedirect(reverse("admin:index"))

    def login(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """The site's own sign-in page; somebody who is signed in and is no administrator is refused."""
        if self.has_permission(request):
            return redirect("admin:index")
        if request.user.is_authenticated:
            raise PermissionDenied
        wanted = request.GET.get("next", "")
        safe = wanted if wanted.startswith("/admin/") else "/admin/"
        return HttpResponseRedirect(f"/signin?{urlencode({'next': safe})}")

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Not here: people change their own password where they sign in."""
        raise Http404

    def logout(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Sign out and return to the sign-in page."""
        return _sign_out(request)


@never_cache
@require_POST
def _sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponseRedirect("/signin")
