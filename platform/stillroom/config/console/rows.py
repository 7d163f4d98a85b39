"""A waiting run as a line of the queue: its reason in two parts, and what may be done to it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.urls import reverse
from django.utils.http import urlencode

from stillroom.config.console.selectors import HOPELESS_CODES
from stillroom.runs.lifecycle import State
from stillroom.runs.models import Run
from stillroom.tenants.admin.wording import age

_BAD_CODES = (*HOPELESS_CODES, "over_quota")


@dataclass(frozen=True, slots=True)
class QueueRow:
    """`look` is bad for what can never start, warn for what an administrator could change, plain otherwise."""

    run: Run
    waits: str
    head: str
    rest: str
    look: str
    acts: list[tuple[str, str]]


def queue_rows(runs: Iterable[Run], back: str) -> list[QueueRow]:
    """Lines for the template; acting returns to `back`. No query."""
    return [_row(run, back) for run in runs]


def _row(run: Run, back: str) -> QueueRow:
    text = run.waiting or "Not decided yet."
    head, dot, rest = text.partition(". ")
    look = "bad" if run.waiting_code in _BAD_CODES else "warn" if run.waiting_code == "quota" else "plain"
    verbs = ("Bump", "Pause", "Cancel") if run.state == State.QUEUED else ("Release", "Cancel")
    query = urlencode({"run": run.id, "next": back})
    acts = [(verb, f"{reverse('admin:act', args=[verb.lower()])}?{query}") for verb in verbs]
    return QueueRow(run, age(run.created_at), head + dot.strip(), rest, look, acts)
