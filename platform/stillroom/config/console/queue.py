"""The queue as a page, and the page that asks for a reason before an administrator acts on runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.paginator import Paginator
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse

from stillroom.config.console.rows import queue_rows
from stillroom.config.console.selectors import queue
from stillroom.core.errors import Conflict, StillroomError
from stillroom.core.tenancy import ADMIN
from stillroom.runs.models import Run
from stillroom.scheduling.services.queue_control import PAST, Act, act_effect, run_act
from stillroom.tenants.admin.base import Question, actor_of, ask, own_path, page
from stillroom.tenants.admin.wording import plural

PER_PAGE = 50
MOST_AT_ONCE = 200
VERBS = {Act.BUMP: "Move up", Act.PAUSE: "Pause", Act.CANCEL: "Cancel", Act.RELEASE: "Release"}


def queue_page(request: HttpRequest, frame: dict[str, Any]) -> HttpResponse:
    """Everything that waits, with its reason."""
    found = Paginator(queue(), PER_PAGE).get_page(request.GET.get("page"))
    context = {"found": found, "rows": queue_rows(found, request.get_full_path()), "queue_total": found.paginator.count}
    return page(request, "console/queue.html", frame, "Queue", **context)


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which of the chosen runs the act can be done to, and what it does or why not."""

    able: list[Run]
    effects: list[tuple[str, str]]


def _plan(act: Act, runs: list[Run]) -> _Plan:
    able, effects = [], []
    for run in runs:
        name = f"{run.id} of {run.tenant.name}"
        try:
            effects.append((name, act_effect(run, act)))
            able.append(run)
        except Conflict as refusal:
            effects.append((name, f"Stays as it is. {refusal.message}"))
    return _Plan(able, effects)


def act_page(request: HttpRequest, frame: dict[str, Any], act: str) -> HttpResponse:
    """Bump, pause, cancel or release the runs that the address names, after a reason was given."""
    if act not in {known.value for known in Act}:
        raise Http404
    wanted = Act(act)
    back = own_path(request.GET.get("next"), reverse("admin:queue"))
    ids = request.GET.getlist("run")[:MOST_AT_ONCE]
    plan = _plan(wanted, list(Run.objects.select_related("tenant").filter(id__in=ids).order_by("created_at", "id")))
    if not plan.able:
        messages.error(request, plan.effects[0][1] if plan.effects else "There is no such run.")
        return HttpResponseRedirect(back)
    what = plan.able[0].id if len(plan.able) == 1 else plural(len(plan.able), "run")
    question = Question(
        title=f"{VERBS[wanted]} {what}?",
        button=f"{VERBS[wanted]} {plural(len(plan.able), 'run')}",
        back=back,
        effects=plan.effects,
        optional=False,
        help_text="Written with your name into the run's history, where its organisation reads it, and into the trail.",
        danger=wanted is Act.CANCEL,
    )
    reason = ask(request, frame, question)
    if not isinstance(reason, str):
        return reason
    done = sum(_one(request, run.id, wanted, reason) for run in plan.able)
    if done:
        messages.success(request, f"{PAST[wanted]}: {plural(done, 'run')}.")
    return HttpResponseRedirect(back)


def _one(request: HttpRequest, run_id: str, act: Act, reason: str) -> bool:
    try:
        with transaction.atomic(using=ADMIN):
            run_act(run_id=run_id, act=act, reason=reason, **actor_of(request))
    except StillroomError as error:
        messages.error(request, f"{run_id}: {error.message}")
        return False
    return True
