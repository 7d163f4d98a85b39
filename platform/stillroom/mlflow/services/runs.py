"""Runs that a client logs: started, ended, resumed, renamed, tagged, deleted, restored."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import Q

from stillroom.mlflow.errors import invalid, missing
from stillroom.mlflow.limits import MAX_TAG, check_length, check_name
from stillroom.mlflow.models import Experiment, TrackedRun
from stillroom.mlflow.services.clock import moment, now_ms
from stillroom.mlflow.services.experiments import active
from stillroom.mlflow.services.names import random_name
from stillroom.runs.lifecycle import State
from stillroom.runs.models import Project, Run
from stillroom.runs.services.control import external_run_end
from stillroom.runs.services.external import external_run_revive
from stillroom.runs.services.submit import external_run_start
from stillroom.runs.services.transition import announce_run, lock_run
from stillroom.tenants.callers import Member

NAME, NOTE, PARENT = "mlflow.runName", "mlflow.note.content", "mlflow.parentRunId"
COLUMN = 200  # characters of a run's own name column
ENDS = {"FINISHED": State.SUCCEEDED, "FAILED": State.FAILED, "KILLED": State.CANCELLED}
STATUSES = ("", "RUNNING", "SCHEDULED", "FINISHED", "FAILED", "KILLED")


def run_find(run_id: str) -> Run:
    """A run of the open tenant by id; RESOURCE_DOES_NOT_EXIST otherwise."""
    run = Run.objects.filter(id=run_id).first() if len(run_id) <= 16 else None
    if run is None:
        raise missing(f"Run with id={run_id[:300]} not found")
    return run


def tracked(run: Run) -> TrackedRun:
    """The run's row here, unsaved when there is none."""
    found = TrackedRun.objects.filter(run=run).first()
    return found or TrackedRun(tenant_id=run.tenant_id, run=run)


def writable(run_id: str) -> tuple[Run, TrackedRun]:
    """A locked run that is not deleted, with its row here."""
    run_find(run_id)
    run = lock_run(run_id)
    row = tracked(run)
    if row.deleted_ms is not None:
        raise invalid(f"The run {run_id} must be in the 'active' state. Current state is deleted.")
    return run, row


def external(run: Run) -> Run:
    """Refuse to log into a run that a node executes."""
    if not run.external:
        raise invalid(
            f"The run {run.id} is executed by Stillroom; its parameters, points and files come from its node."
        )
    return run


def run_create(
    *, member: Member, experiment: Experiment, user: str, name: str, start_ms: int | None, tags: list[tuple[str, str]]
) -> Run:
    """Start a run: RUNNING, with a lease, a name (random when none is given) and tags."""
    active(experiment)
    given = dict(checked_tag(key, value) for key, value in tags)
    tagged = given.pop(NAME, "")
    if name and tagged and name != tagged:
        raise invalid(
            "Both 'run_name' argument and 'mlflow.runName' tag are specified, but with different values "
            f"(run_name='{name}', mlflow.runName='{tagged}')."
        )
    name = check_length("run_name", name or tagged or random_name(), MAX_TAG)
    note = given.pop(NOTE, "")
    started_at = None if not start_ms else moment(start_ms, "start_time")
    project = Project.objects.get(id=experiment.project_id)
    run = external_run_start(
        member=member, project=project, name=name[:COLUMN], tags=given, notes=note,
        lease_s=settings.ENV.mlflow_lease_s, spec={},
    )  # fmt: skip
    changes: dict[str, Any] = {} if started_at is None else {"started_at": started_at}
    parent = _parent(given.get(PARENT))
    if parent:
        changes["parent_id"] = parent
    if changes:
        Run.objects.filter(id=run.id).update(**changes)
    TrackedRun.objects.create(
        tenant_id=member.tenant_id, run=run, user=user[:256] or member.email, name=name if len(name) > COLUMN else ""
    )
    return run


def _parent(run_id: str | None) -> str | None:
    return Run.objects.filter(id=run_id).values_list("id", flat=True).first() if run_id and len(run_id) <= 16 else None


def run_update(*, member: Member, run_id: str, status: object, end_ms: int | None, name: str) -> None:
    """Status, end and name; RUNNING takes an ended run up again."""
    run, row = writable(run_id)
    wanted = _status(status)
    if wanted:
        external(run)
        scheduled = wanted == "SCHEDULED"
        if row.scheduled != scheduled:
            row.scheduled = scheduled
            row.save()
        if wanted in ENDS:
            _end(run, ENDS[wanted], member)
        else:
            external_run_revive(run=run, actor=member.email, lease_s=settings.ENV.mlflow_lease_s)
    if end_ms is not None:
        Run.objects.filter(id=run.id).update(ended_at=moment(end_ms, "end_time"))
    if name:
        run_rename(run, row, name)


def _status(status: object) -> str:
    if status is None or status == "":
        return ""
    if isinstance(status, int) and not isinstance(status, bool) and 0 < status < len(STATUSES):
        return STATUSES[status]
    if not isinstance(status, str) or status not in STATUSES:
        raise invalid(
            f"Invalid value {status!r} for parameter 'status' supplied: Use one of {', '.join(STATUSES[1:])}."
        )
    return status


def _end(run: Run, state: State, member: Member) -> None:
    if run.is_terminal and run.state != state:
        run = external_run_revive(run=run, actor=member.email, lease_s=settings.ENV.mlflow_lease_s)
    external_run_end(run=run, state=state, actor=member.email)


def run_rename(run: Run, row: TrackedRun, name: str) -> None:
    """The name and its tag are one thing."""
    check_length("run_name", name, MAX_TAG)
    Run.objects.filter(id=run.id).update(name=name[:COLUMN])
    long = name if len(name) > COLUMN else ""
    if row.name != long or row._state.adding:
        row.name = long
        row.save()
    announce_run(run)


def run_delete(*, run_id: str) -> None:
    """Soft: hidden from lists, readable by id, closed for writing."""
    run = run_find(run_id)
    row = tracked(run)
    row.deleted_ms = row.deleted_ms or now_ms()
    row.save()


def run_restore(*, run_id: str) -> None:
    """Undo a deletion."""
    run = run_find(run_id)
    TrackedRun.objects.filter(run=run).update(deleted_ms=None)


def tags_set(*, run_id: str, tags: list[tuple[str, str]]) -> None:
    """Set tags; the last of equal keys wins."""
    checked = dict(checked_tag(key, value) for key, value in tags)
    run, row = writable(run_id)
    tags_write(run, row, checked)


def tags_write(run: Run, row: TrackedRun, tags: dict[str, str]) -> None:
    """Checked tags into a locked run. Name and note are the run's own columns."""
    plain = {key: value for key, value in tags.items() if key not in (NAME, NOTE)}
    if tags.get(NAME):  # an empty name is no name: the run keeps its own
        run_rename(run, row, tags[NAME])
    changes: dict[str, Any] = {}
    if NOTE in tags:
        changes["notes"] = tags[NOTE]
    if plain:
        changes["tags"] = {**run.tags, **plain}
    if plain.get(PARENT):
        changes["parent_id"] = _parent(plain[PARENT])
    if changes:
        Run.objects.filter(id=run.id).update(**changes)
        announce_run(run)


def tag_delete(*, run_id: str, key: str) -> None:
    """Remove a tag; RESOURCE_DOES_NOT_EXIST when there is none. A run always keeps its name."""
    run, _ = writable(run_id)
    if key == NAME:
        return
    if key == NOTE and run.notes:
        Run.objects.filter(id=run.id).update(notes="")
        return
    if key not in run.tags:
        raise missing(f"No tag with name: {key} in run with id {run_id}")
    with connection.cursor() as cursor:
        cursor.execute("update run set tags = tags - %s where id = %s", [key, run.id])


def checked_tag(key: str, value: str, at: str = "") -> tuple[str, str]:
    """A run's tag within MLflow's limits; a longer value is cut, as MLflow does."""
    return check_name(key, f"{at}key"), value[:MAX_TAG]


def inputs_log(*, run_id: str, datasets: list[dict[str, Any]], models: list[str]) -> None:
    """Data sets and models that a run read; a data set counts once by name and digest, its tags are joined."""
    run, row = writable(run_id)
    known = {(entry["dataset"]["name"], entry["dataset"]["digest"]): entry for entry in row.inputs}
    for entry in datasets:
        identity = (entry["dataset"]["name"], entry["dataset"]["digest"])
        earlier = known.setdefault(identity, entry)
        if earlier is not entry:
            tags = {tag["key"]: tag["value"] for tag in [*entry["tags"], *earlier["tags"]]}
            earlier["tags"] = [{"key": key, "value": value} for key, value in tags.items()]
    row.inputs = list(known.values())
    row.model_inputs = list(dict.fromkeys([*row.model_inputs, *models]))
    row.save()
    announce_run(run)


def outputs_log(*, run_id: str, models: list[dict[str, Any]]) -> None:
    """Models that a run wrote, with their steps."""
    _, row = writable(run_id)
    known = {(entry["model_id"], entry["step"]): entry for entry in [*row.model_outputs, *models]}
    row.model_outputs = list(known.values())
    row.save()


def visible(view: str) -> Q:
    """The runs of a view type: ACTIVE_ONLY, DELETED_ONLY or ALL."""
    if view == "ALL":
        return Q()
    gone = Q(id__in=TrackedRun.objects.filter(deleted_ms__isnull=False).values("run_id"))
    return gone if view == "DELETED_ONLY" else ~gone
