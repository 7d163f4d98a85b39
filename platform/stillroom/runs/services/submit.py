"""Submitting: projects, single runs, studies of arms times seeds, retries and clones."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from stillroom.core.errors import Conflict, Invalid
from stillroom.runs.catalog import spec_merge, spec_validate
from stillroom.runs.lifecycle import State
from stillroom.runs.models import Attempt, Project, Run, RunFence, RunLease, Study
from stillroom.runs.services.transition import announce_run, notify_queue, run_event
from stillroom.tenants.callers import Member

MAX_STUDY_RUNS = 500


@dataclass(frozen=True, slots=True)
class Resources:
    """What a run asks for."""

    kind: str = "cpu"
    devices: int = 1
    time_limit_s: int = 3600


@dataclass(frozen=True, slots=True)
class Request:
    """A run as somebody asked for it."""

    recipe: str
    spec: object
    seed: int = 0
    name: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    notes: str = ""
    resources: Resources = Resources()
    priority: int = 0
    max_attempts: int = 3
    parent: str | None = None
    arm: str = ""
    study: Study | None = None


def body_hash(payload: object) -> str:
    """What an idempotency key stands for."""
    return hashlib.sha256(json.dumps(payload, sort_keys=True, default=str).encode()).hexdigest()


def project_create(*, member: Member, slug: str, name: str, description: str = "") -> Project:
    """A new project; Conflict when the slug is taken in this organisation."""
    try:
        with transaction.atomic():
            return Project.objects.create(
                tenant_id=member.tenant_id, slug=slug, name=name or slug, description=description
            )
    except IntegrityError:
        raise Conflict(f"There is already a project {slug}.", fields={"slug": "Taken."}) from None


def run_submit(
    *, member: Member, project: Project, request: Request, idempotency_key: str | None = None, fingerprint: str = ""
) -> Run:
    """Validate and queue one run. With an idempotency key, the same request returns the run that it made before."""
    if not idempotency_key:
        return _create(member, project, request, None, "")
    earlier = Run.everything.filter(idempotency_key=idempotency_key).first()
    if earlier is None:
        try:
            with transaction.atomic():
                return _create(member, project, request, idempotency_key, fingerprint)
        except IntegrityError:  # the same request arrived twice at once; the other one was first
            earlier = Run.everything.get(idempotency_key=idempotency_key)
    _same(earlier, fingerprint)
    return earlier


def _create(member: Member, project: Project, request: Request, key: str | None, fingerprint: str) -> Run:
    recipe, spec, spec_hash = spec_validate(request.recipe, request.spec, devices=request.resources.devices)
    _check_parent(request.parent)
    run = Run.objects.create(
        tenant_id=member.tenant_id,
        project=project,
        study=request.study,
        arm=request.arm,
        parent_id=request.parent,
        name=request.name or f"{recipe.title}, seed {request.seed}",
        notes=request.notes,
        tags=request.tags,
        recipe=recipe.name,
        recipe_version=recipe.version,
        spec=spec,
        spec_hash=spec_hash,
        seed=request.seed,
        priority=request.priority,
        max_attempts=request.max_attempts,
        req_kind=request.resources.kind,
        req_devices=request.resources.devices,
        time_limit_s=request.resources.time_limit_s,
        idempotency_key=key,
        idempotency_hash=fingerprint,
        created_by_id=member.user_id,
        waiting_code="submitted",
        waiting="Waiting for the scheduler to look at it.",
    )
    RunFence.objects.create(tenant_id=member.tenant_id, run=run)
    run_event(run, actor=member.email, from_state=None, to_state=State.QUEUED, code="submitted")
    notify_queue()
    announce_run(run)
    return run


def _check_parent(parent: str | None) -> None:
    if parent is not None and not Run.objects.filter(id=parent).exists():
        raise Invalid("The parent run does not exist.", fields={"parent": "There is no such run."})


def _same(earlier: Run | Study, fingerprint: str) -> None:
    if earlier.trashed_at is not None:
        message = f"What this Idempotency-Key made, {earlier.id}, is in the trash. Restore it, or send another key."
        raise Conflict(message, code="idempotency.trashed")
    if earlier.idempotency_hash != fingerprint:
        raise Conflict("This Idempotency-Key was used for another request.", code="idempotency.conflict")


def study_submit(
    *,
    member: Member,
    project: Project,
    name: str,
    base: Request,
    arms: list[tuple[str, dict[str, Any]]],
    seeds: list[int],
    template: str = "",
    idempotency_key: str | None = None,
    fingerprint: str = "",
) -> Study:
    """Queue arms times seeds in one transaction: all runs, or none when any spec is invalid."""
    if idempotency_key:
        earlier = Study.everything.filter(idempotency_key=idempotency_key).first()
        if earlier is not None:
            _same(earlier, fingerprint)
            return earlier
    if len(arms) * len(seeds) > MAX_STUDY_RUNS:
        raise Invalid(
            f"A study has at most {MAX_STUDY_RUNS} runs.", fields={"seeds": f"{len(arms) * len(seeds)} runs asked for."}
        )
    specs = []
    for index, (arm, override) in enumerate(arms):
        merged = spec_merge(base.recipe, base.spec, override)
        at = f"arms.{index}.spec" if override else "spec"
        _, spec, spec_hash = spec_validate(base.recipe, merged, at=at, devices=base.resources.devices)
        specs.append((arm, spec, spec_hash))
    try:
        with transaction.atomic():
            study = Study.objects.create(
                tenant_id=member.tenant_id,
                project=project,
                name=name,
                recipe=base.recipe,
                template=template,
                arms=[{"name": arm, "spec_hash": spec_hash} for arm, _, spec_hash in specs],
                seeds=seeds,
                idempotency_key=idempotency_key or None,
                idempotency_hash=fingerprint,
                created_by_id=member.user_id,
            )
    except IntegrityError:  # the same request arrived twice at once; the other one was first
        earlier = Study.everything.get(idempotency_key=idempotency_key)
        _same(earlier, fingerprint)
        return earlier
    for seed in seeds:
        for arm, spec, _ in specs:
            label = arm or name
            request = Request(
                recipe=base.recipe,
                spec=spec,
                seed=seed,
                name=f"{label}, seed {seed}",
                tags=base.tags,
                notes=base.notes,
                resources=base.resources,
                priority=base.priority,
                max_attempts=base.max_attempts,
                parent=base.parent,
                arm=arm,
                study=study,
            )
            _create(member, project, request, None, "")
    return study


def run_again(*, member: Member, run: Run, spec: object | None = None, seed: int | None = None, name: str = "") -> Run:
    """A new run from an old one: a retry when nothing changes, a clone otherwise. `parent` points back."""
    if run.external:
        raise Conflict("This run was logged by a script; only the script can run it again.", code="run.external")
    request = Request(
        recipe=run.recipe,
        spec=run.spec if spec is None else spec,
        seed=run.seed if seed is None else seed,
        name=name or run.name,
        tags=run.tags,
        resources=Resources(run.req_kind, run.req_devices, run.time_limit_s),
        priority=run.priority,
        max_attempts=run.max_attempts,
        parent=run.id,
        arm=run.arm if spec is None else "",
        study=run.study if spec is None else None,
    )
    return _create(member, run.project, request, None, "")


def external_run_start(
    *,
    member: Member,
    project: Project,
    name: str,
    tags: dict[str, str],
    notes: str,
    lease_s: int,
    spec: dict[str, Any],
    parent: str | None = None,
    idempotency_key: str | None = None,
    fingerprint: str = "",
) -> Run:
    """A run that a script logs: it is RUNNING at once, at epoch 1, with a lease of its own.

    With an idempotency key, the same request returns the run that it made before, whatever became of it.
    """
    _check_parent(parent)
    values = {"name": name or "external run", "tags": tags, "notes": notes, "spec": spec, "parent_id": parent}
    if not idempotency_key:
        return _create_external(member, project, values, lease_s)
    earlier = Run.everything.filter(idempotency_key=idempotency_key).first()
    if earlier is None:
        keyed = {**values, "idempotency_key": idempotency_key, "idempotency_hash": fingerprint}
        try:
            with transaction.atomic():
                return _create_external(member, project, keyed, lease_s)
        except IntegrityError:  # the same request arrived twice at once; the other one was first
            earlier = Run.everything.get(idempotency_key=idempotency_key)
    _same(earlier, fingerprint)
    return earlier


def _create_external(member: Member, project: Project, values: dict[str, Any], lease_s: int) -> Run:
    now = timezone.now()
    run = Run.objects.create(
        tenant_id=member.tenant_id,
        project=project,
        **values,
        external=True,
        state=State.RUNNING,
        epoch=1,
        attempt=1,
        started_at=now,
        req_kind="",
        req_devices=0,
        created_by_id=member.user_id,
    )
    RunFence.objects.create(tenant_id=member.tenant_id, run=run, epoch=1, open=True)
    RunLease.objects.create(tenant_id=member.tenant_id, run=run, epoch=1, lease_until=now + timedelta(seconds=lease_s))
    Attempt.objects.create(
        tenant_id=member.tenant_id, run=run, epoch=1, number=1, assigned_at=now, claimed_at=now, started_at=now
    )
    run_event(run, actor=member.email, from_state=None, to_state=State.RUNNING, code="external")
    announce_run(run)
    return run
