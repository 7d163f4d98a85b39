"""The shape on the wire of what was thrown away."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, Literal

from django.conf import settings
from ninja import Schema

from stillroom.runs.models import Project
from stillroom.runs.services.trash import Item, kind_of, runs_of


class TrashedOut(Schema):
    """Something in the trash. `runs` go with it; after `purge_at` nothing of it is left."""

    id: str
    kind: Literal["project", "study", "run"]
    name: str
    project: str
    runs: int
    trashed_at: datetime
    trashed_by: str
    purge_at: datetime

    @staticmethod
    def of(item: Item) -> dict[str, Any]:
        """At most two queries."""
        assert item.trashed_at is not None
        project = item if isinstance(item, Project) else Project.everything.get(id=item.project_id)
        return {
            "id": item.id,
            "kind": kind_of(item),
            "name": item.slug if isinstance(item, Project) else item.name,
            "project": project.slug,
            "runs": runs_of(item).filter(trashed_at__isnull=False).count(),
            "trashed_at": item.trashed_at,
            "trashed_by": item.trashed_by,
            "purge_at": item.trashed_at + timedelta(days=settings.ENV.trash_days),
        }
