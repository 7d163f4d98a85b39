"""Throwing away and taking back. What is in the trash is invisible everywhere else; `telemetry` purges it for good."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from stillroom.core.errors import Conflict, NotFound
from stillroom.core.tenancy import tenant_tx
from stillroom.runs.lifecycle import TERMINAL
from stillroom.runs.models import Project, Run, Study
from stillroom.runs.services.transition import announce_run
from stillroom.tenants.callers import Member
from stillroom.tenants.doors import Passage
from stillroom.tenants.policies import Can
from stillroom.tenants.services import audit

Item = Project | Study | Run
KINDS: dict[str, type[Item]] = {"p": Project, "s": Study, "r": Run}


def kind_of(item: Item) -> str:
    """project, study or run."""
    return type(item).__name__.lower()


@contextmanager
def trash_access(door: Passage, item_id: str) -> Iterator[tuple[Member, Item]]:
    """Enter the tenant of something in the trash that the caller may act on; NotFound for any other id."""
    model = KINDS.get(item_id.partition("_")[0])
    for member in door.candidates():
        with tenant_tx(member.tenant_id):
            found = model.everything.filter(id=item_id, trashed_at__isnull=False).first() if model else None
            if found is not None:
                member.require(door.needs)
                if isinstance(found, Project):
                    member.require(Can.PROJECT_MANAGE)
                yield member, found
                return
    raise NotFound("This item of the trash")


def in_trash() -> list[Item]:
    """What the open tenant has thrown away, newest first; what went along with it is not listed. Three queries."""
    items: list[Item] = []
    for model in KINDS.values():
        items += model.everything.filter(trashed_at__isnull=False, trashed_with="").order_by("-trashed_at")[:500]
    return sorted(items, key=lambda item: item.trashed_at or timezone.now(), reverse=True)


def runs_of(item: Item) -> QuerySet[Run]:
    """The runs that go where this goes, in the trash or not."""
    if isinstance(item, Run):
        return Run.everything.filter(id=item.id)
    return Run.everything.filter(**{kind_of(item): item})


def item_trash(*, item: Item, actor: str) -> Item:
    """Move a run, a study or a project with all that is in it to the trash. Raises Conflict while a run of it goes on.

    Names are free from then on.
    """
    going = runs_of(item).filter(trashed_at__isnull=True).exclude(state__in=[state.value for state in TERMINAL])
    active = list(going.order_by("id").values_list("id", flat=True)[:20])
    if active:
        message = f"Runs that have not ended cannot be deleted: {', '.join(active)}. Cancel them first."
        raise Conflict(message, code="trash.active", fields={kind_of(item): message}, runs=active)
    now = timezone.now()
    if not isinstance(item, Run):
        along = {"trashed_at": now, "trashed_by": actor, "trashed_with": item.id}
        runs_of(item).filter(trashed_at__isnull=True).update(**along)
        if isinstance(item, Project):
            Study.objects.filter(project=item).update(**along)
    item.trashed_at, item.trashed_by, item.trashed_with = now, actor, ""
    item.save(update_fields=["trashed_at", "trashed_by", "trashed_with"])
    _audit(item, "trash", actor)
    if isinstance(item, Run):
        announce_run(item)
    return item


def item_restore(*, item: Item, actor: str) -> Item:
    """Take something back with what went along. Raises Conflict when its project is still in the trash or its name is
    taken.
    """
    home = None if isinstance(item, Project) else Project.everything.get(id=item.project_id)
    if home is not None and home.trashed_at is not None:
        message = f"Its project {home.slug} is in the trash. Restore that first."
        raise Conflict(message, code="trash.project", fields={"project": message})
    nothing = {"trashed_at": None, "trashed_by": "", "trashed_with": ""}
    try:
        with transaction.atomic():
            type(item).everything.filter(id=item.id).update(**nothing)
    except IntegrityError:
        raise Conflict("Its name is taken by now. Rename the other one first.", fields={"slug": "Taken."}) from None
    if not isinstance(item, Run):
        for model in (Study, Run):
            model.everything.filter(trashed_with=item.id).update(**nothing)
    _audit(item, "restore", actor)
    if isinstance(item, Run):
        announce_run(item)
    return item


def _audit(item: Item, what: str, actor: str) -> None:
    name = item.slug if isinstance(item, Project) else item.name
    audit(
        actor=actor,
        action=f"{kind_of(item)}.{what}",
        object_id=item.id,
        tenant_id=item.tenant_id,
        before={"name": name},
    )
