"""Experiments are projects: made, renamed, deleted, restored, tagged. Deleting is soft and takes the runs along."""

from __future__ import annotations

import re
import secrets
import unicodedata
from urllib.parse import unquote

from django.db import IntegrityError, connection, transaction
from django.db.models import F, Q, QuerySet

from stillroom.mlflow.errors import MlflowError, invalid, missing
from stillroom.mlflow.limits import MAX_EXPERIMENT_TAG, check_experiment_name, check_length, check_name
from stillroom.mlflow.models import Experiment, TrackedRun
from stillroom.mlflow.services.clock import millis, now_ms
from stillroom.runs.models import Project
from stillroom.tenants.callers import Member
from stillroom.tenants.policies import Can

NUMBER, PROJECT = re.compile(r"\A-?[0-9]{1,30}\Z"), re.compile(r"\Ap_\w{1,14}\Z")
DEFAULT_NAME, DEFAULT_SLUG = "Default", "default"
ATTEMPTS = 5


def experiments() -> QuerySet[Experiment]:
    """The tenant's experiments, deleted or not, but none whose project lies in the web app's trash."""
    return Experiment.objects.filter(project__trashed_at__isnull=True)


def experiments_ensure(member: Member) -> None:
    """Give every project of the tenant a row here, and the tenant its Default. One query when all have."""
    known = Experiment.objects.filter(number=0).exists()
    unknown = list(Project.objects.exclude(id__in=Experiment.objects.values("project_id")))
    for project in unknown:
        is_default = project.slug == DEFAULT_SLUG and not known
        known = known or is_default
        created = millis(project.created_at) or 0
        _adopt(project, DEFAULT_NAME if is_default else project.slug, 0 if is_default else _number(), created)
    if not known and Can.RUN_SUBMIT in member.can:
        _create(member, DEFAULT_NAME, slug=DEFAULT_SLUG, number=0)


def _adopt(project: Project, name: str, number: int, created_ms: int) -> None:
    """A row for a project that was made elsewhere; its name gives way when an experiment has it."""
    for title in (name, f"{name} ({project.id})"):
        try:
            with transaction.atomic():
                Experiment.objects.create(
                    tenant_id=project.tenant_id, project=project, name=title, number=number,
                    created_ms=created_ms, updated_ms=created_ms,
                )  # fmt: skip
        except IntegrityError:
            continue
        return


def _number() -> int:
    """18 digits that grow with time."""
    return now_ms() * 100_000 + secrets.randbelow(100_000)


def _create(
    member: Member, name: str, *, slug: str, number: int | None, tags: dict[str, str] | None = None, location: str = ""
) -> Experiment | None:
    """An experiment with a project of its own; None when the name is taken."""
    now = now_ms()
    for attempt in range(ATTEMPTS):
        try:
            with transaction.atomic():
                project = Project.objects.create(
                    tenant_id=member.tenant_id,
                    slug=slug if attempt == 0 else f"{slug[:40].rstrip('-')}-{secrets.token_hex(3)}",
                    name=name[:100],
                )
                return Experiment.objects.create(
                    tenant_id=member.tenant_id, project=project, name=name, created_ms=now, updated_ms=now,
                    number=_number() if number is None else number, tags=tags or {}, artifact_location=location,
                )  # fmt: skip
        except IntegrityError:
            if Experiment.objects.filter(name=name).exists():
                return None
    return None


def slug_of(name: str) -> str:
    """A project's slug from an experiment's name."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:48].strip("-") or "experiment"


def experiment_create(*, member: Member, name: str, tags: list[tuple[str, str]], artifact_location: str) -> Experiment:
    """A new experiment; RESOURCE_ALREADY_EXISTS also when a deleted one has the name."""
    check_experiment_name(name)
    _check_location(artifact_location)
    for key, value in tags:
        _check_tag(key, value)
    experiments_ensure(member)
    made = _create(member, name, slug=slug_of(name), number=None, tags=dict(tags), location=artifact_location)
    if made is None:
        raise _taken(name)
    return made


def _check_location(text: str) -> None:
    """Where runs put their files, when it is not here: another store's address, whole and without a way up."""
    scheme = text.partition(":")[0].lower()
    up = any(part == ".." for part in unquote(text).replace("\\", "/").split("/"))
    if scheme in ("runs", "models", "mlflow-artifacts") or up or any(sign in text for sign in "?#"):
        raise invalid(f"Invalid artifact location: {text[:300]!r}.")


def _taken(name: str) -> MlflowError:
    return MlflowError("RESOURCE_ALREADY_EXISTS", f"Experiment(name={name}) already exists.")


def experiment_find(member: Member, text: str) -> Experiment:
    """An experiment by its number or by its project's id, deleted or not; RESOURCE_DOES_NOT_EXIST otherwise."""
    numbers, projects = experiments_asked([text])
    for look in range(2):
        found = experiments().filter(Q(number__in=numbers) | Q(project_id__in=projects)).first()
        if found is not None:
            return found
        if look == 0:
            experiments_ensure(member)
    raise missing(f"No Experiment with id={text} exists")


def experiments_asked(texts: list[str]) -> tuple[set[int], set[str]]:
    """Numbers of experiments and ids of projects among ids as clients send them; raises INVALID_PARAMETER_VALUE."""
    for text in texts:
        if not (NUMBER.match(text) or PROJECT.match(text)):
            raise invalid(f"Invalid experiment ID '{text[:100]}'. Experiment ID must be a valid integer.")
    return {number for text in texts if NUMBER.match(text) and abs(number := int(text)) < 2**63}, {
        text for text in texts if PROJECT.match(text)
    }


def experiment_named(member: Member, name: str) -> Experiment:
    """An experiment by its name, deleted or not."""
    found = experiments().filter(name=name).first()
    if found is None:
        experiments_ensure(member)
        found = experiments().filter(name=name).first()
    if found is None:
        raise missing(f"Could not find experiment with name '{name}'")
    return found


def active(experiment: Experiment) -> Experiment:
    """Refuse a deleted experiment."""
    if experiment.deleted_ms is not None:
        raise invalid(f"The experiment {experiment.number} must be in the 'active' state. Current state is deleted.")
    return experiment


def experiment_rename(*, experiment: Experiment, name: str) -> None:
    """A new name; RESOURCE_ALREADY_EXISTS when it is taken."""
    check_experiment_name(name)
    if experiment.deleted_ms is not None:
        raise MlflowError("INVALID_STATE", "Cannot rename a non-active experiment.")
    try:
        with transaction.atomic():
            Experiment.objects.filter(id=experiment.id).update(name=name, updated_ms=now_ms())
    except IntegrityError:
        raise _taken(name) from None
    Project.objects.filter(id=experiment.project_id).update(name=name[:100])


def experiment_delete(*, experiment: Experiment) -> None:
    """Soft: the experiment and its active runs are marked with one and the same time."""
    if experiment.number == 0:
        raise invalid("Cannot delete the default experiment '0'. This is an internally reserved experiment.")
    if experiment.deleted_ms is not None:
        raise missing(f"No Experiment with id={experiment.number} exists")
    now = now_ms()
    Experiment.objects.filter(id=experiment.id).update(deleted_ms=now, updated_ms=now)
    with connection.cursor() as cursor:
        cursor.execute(
            'insert into mlflow_run (tenant_id, run_id, "user", name, scheduled, deleted_ms, inputs, model_inputs, '
            "model_outputs) select tenant_id, id, '', '', false, %s, '[]', '[]', '[]' from run where project_id = %s "
            "on conflict (run_id) do update set deleted_ms = coalesce(mlflow_run.deleted_ms, excluded.deleted_ms)",
            [now, experiment.project_id],
        )


def experiment_restore(*, experiment: Experiment) -> None:
    """Undo a deletion; runs that were deleted with the experiment come back, others stay deleted."""
    if experiment.deleted_ms is None:
        raise missing(f"No deleted Experiment with id={experiment.number} exists")
    Experiment.objects.filter(id=experiment.id).update(deleted_ms=None, updated_ms=now_ms())
    rows = TrackedRun.objects.filter(run__project_id=experiment.project_id, deleted_ms=experiment.deleted_ms)
    rows.update(deleted_ms=None)


def experiment_tag(*, experiment: Experiment, key: str, value: str) -> None:
    """Set a tag."""
    _check_tag(key, value)
    row = Experiment.objects.select_for_update().get(id=active(experiment).id)
    Experiment.objects.filter(id=row.id).update(tags={**row.tags, key: value}, updated_ms=now_ms())


def experiment_untag(*, experiment: Experiment, key: str) -> None:
    """Remove a tag; RESOURCE_DOES_NOT_EXIST when there is none."""
    row = Experiment.objects.select_for_update().get(id=active(experiment).id)
    if key not in row.tags:
        raise missing(f"No tag with name: {key} in experiment with id {experiment.number}")
    tags = {name: value for name, value in row.tags.items() if name != key}
    Experiment.objects.filter(id=row.id).update(tags=tags, updated_ms=F("updated_ms"))


def _check_tag(key: str, value: str) -> None:
    check_name(key)
    check_length("value", value, MAX_EXPERIMENT_TAG)
