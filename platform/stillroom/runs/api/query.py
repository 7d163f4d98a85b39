"""What may come next in a query, for the box in which it is typed."""

from __future__ import annotations

from typing import Annotated

from ninja import Query

from stillroom.runs.query.complete import complete
from stillroom.runs.query.parse import MAX_LENGTH
from stillroom.runs.schemas.query import CompletionOut
from stillroom.runs.selectors import known_keys, project_get
from stillroom.tenants.doors import Door, DoorRequest
from stillroom.tenants.policies import Can

door = Door(tags=["runs"])
Text = Annotated[str, Query(max_length=MAX_LENGTH)]
At = Annotated[int | None, Query(ge=0)]


@door.get("/orgs/{org}/projects/{project}/query/complete", needs=Can.RUN_READ, response=CompletionOut)
def query_complete(request: DoorRequest, org: str, project: str, q: Text = "", at: At = None) -> object:
    """What the word at position `at` of `q` may become: fields and keys seen in the project, operators, values."""
    with request.door.org(org):
        found = project_get(project)
        start, items = complete(q, len(q) if at is None else at, known_keys(found))
        return {"start": start, "items": items}


@door.get("/query/complete", needs=Can.RUN_READ, response=CompletionOut)
def query_complete_org(request: DoorRequest, org: str | None = None, q: Text = "", at: At = None) -> object:
    """The same over all the organisation's projects."""
    with request.door.org(org):
        start, items = complete(q, len(q) if at is None else at, known_keys(None))
        return {"start": start, "items": items}
