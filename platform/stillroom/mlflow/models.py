"""What MLflow has and a run or project has not: experiment names, life cycle, inputs, logged models, the registry."""

from __future__ import annotations

import secrets

from django.db import models

from stillroom.core.tenancy import TenantModel
from stillroom.runs.models import Project, Run

MAX_NAME = 500


def logged_model_id() -> str:
    """`m-` and 32 hex digits, as clients expect."""
    return f"m-{secrets.token_hex(16)}"


class Experiment(TenantModel):
    """A project as an experiment. `number` is its id on the wire: 0 is each tenant's Default, others are unique."""

    id = models.BigAutoField(primary_key=True)
    number = models.BigIntegerField()
    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=MAX_NAME)
    artifact_location = models.TextField(blank=True)
    tags = models.JSONField(default=dict)
    created_ms = models.BigIntegerField()
    updated_ms = models.BigIntegerField()
    deleted_ms = models.BigIntegerField(null=True)

    class Meta(TenantModel.Meta):
        db_table = "mlflow_experiment"
        constraints = (
            models.UniqueConstraint(fields=["tenant", "name"], name="experiment_name_unique_in_tenant"),
            models.UniqueConstraint(fields=["tenant", "number"], name="experiment_number_unique_in_tenant"),
            models.UniqueConstraint(fields=["number"], condition=~models.Q(number=0), name="experiment_number_unique"),
        )

    def __str__(self) -> str:
        return self.name


class TrackedRun(TenantModel):
    """What MLflow knows of a run beyond the run: its life cycle, inputs and outputs. Absent: all defaults.

    `name` holds a run name that is longer than the run's own column.
    """

    run = models.OneToOneField(Run, primary_key=True, on_delete=models.CASCADE, related_name="+")
    user = models.CharField(max_length=256, blank=True)
    name = models.TextField(blank=True)
    scheduled = models.BooleanField(default=False)
    deleted_ms = models.BigIntegerField(null=True)
    inputs = models.JSONField(default=list)
    model_inputs = models.JSONField(default=list)
    model_outputs = models.JSONField(default=list)

    class Meta(TenantModel.Meta):
        db_table = "mlflow_run"


class LoggedModel(TenantModel):
    """A model that a client logs: its parameters, tags, linked metrics and files."""

    id = models.CharField(primary_key=True, max_length=34, default=logged_model_id, editable=False)
    experiment = models.ForeignKey(Experiment, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=MAX_NAME)
    model_type = models.CharField(max_length=MAX_NAME, blank=True)
    source_run_id = models.CharField(max_length=16, blank=True)
    status = models.CharField(max_length=32, default="LOGGED_MODEL_PENDING")
    params = models.JSONField(default=dict)
    tags = models.JSONField(default=dict)
    metrics = models.JSONField(default=list)
    created_ms = models.BigIntegerField()
    updated_ms = models.BigIntegerField()
    deleted_ms = models.BigIntegerField(null=True)

    class Meta(TenantModel.Meta):
        db_table = "mlflow_model"
        indexes = (models.Index(fields=["experiment", "-created_ms"], name="mlflow_model_by_experiment"),)


class RegisteredModel(TenantModel):
    """A name in the model registry, with aliases that point at versions."""

    id = models.BigAutoField(primary_key=True)
    name = models.CharField(max_length=256)
    description = models.TextField(blank=True)
    tags = models.JSONField(default=dict)
    aliases = models.JSONField(default=dict)
    last_version = models.IntegerField(default=0)
    created_ms = models.BigIntegerField()
    updated_ms = models.BigIntegerField()

    class Meta(TenantModel.Meta):
        db_table = "mlflow_registered_model"
        constraints = (models.UniqueConstraint(fields=["tenant", "name"], name="registered_model_name_unique"),)

    def __str__(self) -> str:
        return self.name


class ModelVersion(TenantModel):
    """One version of a registered model."""

    id = models.BigAutoField(primary_key=True)
    model = models.ForeignKey(RegisteredModel, on_delete=models.CASCADE, related_name="versions")
    version = models.IntegerField()
    source = models.TextField(blank=True)
    run_id = models.CharField(max_length=32, blank=True)
    run_link = models.TextField(blank=True)
    logged_model = models.CharField(max_length=34, blank=True)
    description = models.TextField(blank=True)
    stage = models.CharField(max_length=16, default="None")
    tags = models.JSONField(default=dict)
    user = models.CharField(max_length=256, blank=True)
    created_ms = models.BigIntegerField()
    updated_ms = models.BigIntegerField()

    class Meta(TenantModel.Meta):
        db_table = "mlflow_model_version"
        constraints = (models.UniqueConstraint(fields=["model", "version"], name="one_model_version"),)
