"""Project, study, run, and what happened to a run: attempts, events, lease, fence, checkpoints."""

from __future__ import annotations

from typing import ClassVar, Self, TypeVar

from django.conf import settings
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models

from stillroom.core import ids
from stillroom.core.tenancy import TenantManager, TenantModel
from stillroom.runs.lifecycle import ACTIVE, TERMINAL, Intent, State
from stillroom.tenants.models import slug_is_plain

Row = TypeVar("Row", bound=models.Model)


class Kept(TenantManager[Row]):
    """The tenant's rows that are not in the trash."""

    def get_queryset(self) -> models.QuerySet[Row]:
        return super().get_queryset().filter(trashed_at__isnull=True)


class Trashable(TenantModel):
    """A thing that can be thrown away and, for a while, taken back. `objects` never shows what is in the trash.

    `trashed_with` is the id of the project or study in whose company a row was thrown away; it comes back with it.
    """

    trashed_at = models.DateTimeField(null=True)
    trashed_by = models.CharField(max_length=200, blank=True, default="", db_default="")
    trashed_with = models.CharField(max_length=16, blank=True, default="", db_default="")

    objects: ClassVar[Kept[Self]] = Kept()
    everything: ClassVar[TenantManager[Self]] = TenantManager()

    class Meta:
        abstract = True
        base_manager_name = "everything"
        default_manager_name = "objects"


class Project(Trashable):
    """A place for studies and runs inside an organisation."""

    id = models.CharField(primary_key=True, max_length=16, default=ids.project_id, editable=False)
    slug = models.CharField(max_length=48, validators=[slug_is_plain])
    name = models.CharField(max_length=100)
    description = models.TextField(blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta(Trashable.Meta):
        db_table = "project"
        constraints = (
            models.UniqueConstraint(
                fields=["tenant", "slug"],
                condition=models.Q(trashed_at__isnull=True),
                name="project_slug_unique_in_tenant",
            ),
        )

    def __str__(self) -> str:
        return self.name


class Study(Trashable):
    """Arms times seeds of one recipe, submitted together."""

    id = models.CharField(primary_key=True, max_length=16, default=ids.study_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="studies")
    name = models.CharField(max_length=200)
    recipe = models.CharField(max_length=64)
    template = models.CharField(max_length=64, blank=True, default="", db_default="")
    arms = models.JSONField(default=list)
    seeds = models.JSONField(default=list)
    idempotency_key = models.CharField(max_length=200, null=True)
    idempotency_hash = models.CharField(max_length=64, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta(Trashable.Meta):
        db_table = "study"
        constraints = (
            models.UniqueConstraint(fields=["tenant", "idempotency_key"], name="study_idempotency_key_unique"),
        )

    def __str__(self) -> str:
        return self.name


class Run(Trashable):
    """One execution of a spec under one seed. `state` is written by `run_transition` alone, `intent` by people and
    the scheduler.
    """

    id = models.CharField(primary_key=True, max_length=16, default=ids.run_id, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="runs")
    study = models.ForeignKey(Study, null=True, on_delete=models.SET_NULL, related_name="runs")
    arm = models.CharField(max_length=200, blank=True)
    parent = models.ForeignKey("self", null=True, on_delete=models.SET_NULL, related_name="+")
    name = models.CharField(max_length=200)
    notes = models.TextField(blank=True)
    tags = models.JSONField(default=dict)
    external = models.BooleanField(default=False)

    recipe = models.CharField(max_length=64, blank=True)
    recipe_version = models.CharField(max_length=32, blank=True)
    spec = models.JSONField(default=dict)
    spec_hash = models.CharField(max_length=64, blank=True)
    seed = models.BigIntegerField(default=0)

    state = models.CharField(max_length=10, default=State.QUEUED)
    intent = models.CharField(max_length=8, default=Intent.RUN)
    epoch = models.BigIntegerField(default=0)
    attempt = models.IntegerField(default=0)
    max_attempts = models.IntegerField(default=3)
    not_before = models.DateTimeField(null=True)
    priority = models.IntegerField(default=0)
    req_kind = models.CharField(max_length=64, default="cpu")
    req_devices = models.IntegerField(default=1)
    time_limit_s = models.IntegerField(default=3600)
    node_name = models.CharField(max_length=100, blank=True)
    exit_code = models.IntegerField(null=True)
    reason_code = models.CharField(max_length=64, blank=True)
    reason = models.TextField(blank=True)
    waiting_code = models.CharField(max_length=64, blank=True)
    waiting = models.TextField(blank=True)
    waiting_rank = models.IntegerField(null=True)
    idempotency_key = models.CharField(max_length=200, null=True)
    idempotency_hash = models.CharField(max_length=64, blank=True)
    origin = models.JSONField(null=True)

    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)

    class Meta(Trashable.Meta):
        db_table = "run"
        indexes = (
            models.Index(fields=["tenant", "project", "-created_at", "-id"], name="run_by_project"),
            models.Index(fields=["tenant", "spec_hash"], name="run_by_spec"),
            models.Index(
                fields=["state", "-priority", "created_at"], name="run_queue", condition=models.Q(state="QUEUED")
            ),
            models.Index(fields=["tenant", "study"], name="run_by_study"),
        )
        constraints = (
            models.UniqueConstraint(fields=["tenant", "idempotency_key"], name="run_idempotency_key_unique"),
            models.CheckConstraint(condition=models.Q(state__in=[s.value for s in State]), name="run_state_known"),
            models.CheckConstraint(condition=models.Q(intent__in=[i.value for i in Intent]), name="run_intent_known"),
            models.CheckConstraint(
                condition=~models.Q(state__in=sorted(s.value for s in TERMINAL)) | models.Q(ended_at__isnull=False),
                name="run_terminal_has_end",
            ),
            models.CheckConstraint(condition=models.Q(req_devices__gte=0), name="run_devices_not_negative"),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def is_terminal(self) -> bool:
        return State(self.state) in TERMINAL

    @property
    def is_active(self) -> bool:
        return State(self.state) in ACTIVE


class RunFence(TenantModel):
    """What ingest locks: the open epoch and the last stored batch. Heartbeats never touch it."""

    run = models.OneToOneField(Run, primary_key=True, on_delete=models.CASCADE, related_name="fence")
    epoch = models.BigIntegerField(default=0)
    open = models.BooleanField(default=False)
    last_seq = models.BigIntegerField(default=0)
    last_hash = models.BinaryField(max_length=32, null=True)
    log_lines = models.BigIntegerField(default=0)
    key_count = models.IntegerField(default=0)
    progress = models.JSONField(null=True)
    ingested_at = models.DateTimeField(null=True)
    folded_at = models.DateTimeField(null=True)

    class Meta(TenantModel.Meta):
        db_table = "run_fence"


class RunLease(TenantModel):
    """The heartbeat row of an attempt, hot and small."""

    run = models.OneToOneField(Run, primary_key=True, on_delete=models.CASCADE, related_name="lease")
    epoch = models.BigIntegerField()
    node_id = models.CharField(max_length=16, blank=True)
    incarnation = models.CharField(max_length=64, blank=True)
    lease_until = models.DateTimeField()
    woken_at = models.DateTimeField(null=True)

    class Meta(TenantModel.Meta):
        db_table = "run_lease"
        indexes = (models.Index(fields=["lease_until"], name="run_lease_by_expiry"),)


class Attempt(TenantModel):
    """One epoch of a run. Points of an older epoch past this attempt's `resume_step` are not shown."""

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="attempts")
    epoch = models.BigIntegerField()
    number = models.IntegerField()
    node_name = models.CharField(max_length=100, blank=True)
    resume_step = models.BigIntegerField(null=True)
    assigned_at = models.DateTimeField()
    claimed_at = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=64, blank=True)

    class Meta(TenantModel.Meta):
        db_table = "run_attempt"
        constraints = (models.UniqueConstraint(fields=["run", "epoch"], name="one_attempt_per_epoch"),)


class RunEvent(TenantModel):
    """The run's history: append-only, written in the transaction of the change."""

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="events")
    epoch = models.BigIntegerField()
    at = models.DateTimeField(auto_now_add=True)
    actor = models.CharField(max_length=200)
    from_state = models.CharField(max_length=10, blank=True)
    to_state = models.CharField(max_length=10)
    code = models.CharField(max_length=64, blank=True)
    message = models.TextField(blank=True)
    detail = models.JSONField(default=dict, encoder=DjangoJSONEncoder)

    class Meta(TenantModel.Meta):
        db_table = "run_event"
        indexes = (models.Index(fields=["run", "id"], name="run_event_by_run"),)


class CheckpointRecord(TenantModel):
    """A complete checkpoint: the files, already uploaded as artifacts, from which the next attempt resumes."""

    class Status(models.TextChoices):
        COMPLETE = "complete"
        CORRUPT = "corrupt"

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey(Run, on_delete=models.CASCADE, related_name="checkpoints")
    epoch = models.BigIntegerField()
    step = models.BigIntegerField()
    files = models.JSONField(default=list)
    status = models.CharField(max_length=8, choices=Status, default=Status.COMPLETE)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta(TenantModel.Meta):
        db_table = "checkpoint"
        constraints = (models.UniqueConstraint(fields=["run", "epoch", "step"], name="one_checkpoint_per_step"),)


class Series(TenantModel):
    """One metric key of one run, with its running summary: tables and leaderboards never read blobs.

    `last`, `low` and `high` are over finite values; `last` follows the last point, finite or not. `last_time` (seconds
    since 1970) is known for points that came without batch numbers.
    """

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey("runs.Run", on_delete=models.CASCADE, related_name="series")
    key = models.CharField(max_length=256)
    n = models.BigIntegerField(default=0)
    last = models.FloatField(null=True)
    last_step = models.BigIntegerField(null=True)
    last_time = models.FloatField(null=True)
    low = models.FloatField(null=True)
    low_step = models.BigIntegerField(null=True)
    high = models.FloatField(null=True)
    high_step = models.BigIntegerField(null=True)
    non_finite = models.BigIntegerField(default=0)

    class Meta(TenantModel.Meta):
        db_table = "series"
        constraints = (models.UniqueConstraint(fields=["run", "key"], name="one_series_per_key"),)

    def __str__(self) -> str:
        return self.key
