"""Series chunks, log chunks and artifacts. Only this app's services and selectors name these tables."""

from __future__ import annotations

from django.db import models

from stillroom.core import ids
from stillroom.core.tenancy import TenantModel


class SeriesChunk(TenantModel):
    """Points of one series as compressed columns. `seq_lo`..`seq_hi` are the ingest batches it holds.

    `blocks` summarises the frames of a long chunk (see `telemetry.blocks`); it is null for a short one.
    """

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey("runs.Run", on_delete=models.CASCADE, related_name="+")
    series = models.ForeignKey("runs.Series", on_delete=models.CASCADE, related_name="chunks")
    epoch = models.BigIntegerField()
    seq_lo = models.BigIntegerField()
    seq_hi = models.BigIntegerField()
    n = models.IntegerField()
    step_lo = models.BigIntegerField()
    step_hi = models.BigIntegerField()
    low = models.FloatField(null=True)
    high = models.FloatField(null=True)
    codec = models.SmallIntegerField(default=1)
    columns = models.BinaryField()
    blocks = models.BinaryField(null=True)

    class Meta(TenantModel.Meta):
        db_table = "series_chunk"
        constraints = (models.UniqueConstraint(fields=["series", "epoch", "seq_lo"], name="one_chunk_per_batch"),)
        indexes = (models.Index(fields=["run", "epoch", "seq_lo"], name="chunk_by_batch"),)


class LogChunk(TenantModel):
    """Log lines of one batch, compressed. `first_line` counts contiguously over the whole run."""

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey("runs.Run", on_delete=models.CASCADE, related_name="+")
    epoch = models.BigIntegerField()
    seq = models.BigIntegerField()
    first_line = models.BigIntegerField()
    n = models.IntegerField()
    lines = models.BinaryField()

    class Meta(TenantModel.Meta):
        db_table = "log_chunk"
        constraints = (models.UniqueConstraint(fields=["run", "first_line"], name="log_lines_contiguous"),)


class ArtifactFile(TenantModel):
    """A file of a run: a path for people, a hash for the store. Content is shared inside a tenant only."""

    id = models.BigAutoField(primary_key=True)
    run = models.ForeignKey("runs.Run", on_delete=models.CASCADE, related_name="artifacts")
    epoch = models.BigIntegerField()
    path = models.CharField(max_length=500)
    size_bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    media_type = models.CharField(max_length=100)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta(TenantModel.Meta):
        db_table = "artifact"
        constraints = (models.UniqueConstraint(fields=["run", "epoch", "path"], name="one_artifact_per_path"),)


class Blob(TenantModel):
    """Content in the artifact store, counted once a tenant however many files share it.

    `reserved_until` keeps the sweep away from content whose file is about to be published.
    """

    id = models.BigAutoField(primary_key=True)
    sha256 = models.CharField(max_length=64)
    size_bytes = models.BigIntegerField()
    created_at = models.DateTimeField(auto_now_add=True)
    reserved_until = models.DateTimeField(null=True)

    class Meta(TenantModel.Meta):
        db_table = "blob"
        constraints = (models.UniqueConstraint(fields=["tenant", "sha256"], name="one_blob_per_content"),)


class Upload(TenantModel):
    """An artifact on its way in pieces. How far it has come is the size of its files, not a column."""

    id = models.CharField(primary_key=True, max_length=16, default=ids.upload_id, editable=False)
    run = models.ForeignKey("runs.Run", on_delete=models.CASCADE, related_name="+")
    epoch = models.BigIntegerField()
    path = models.CharField(max_length=500)
    size_bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64, blank=True)
    done = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta(TenantModel.Meta):
        db_table = "upload"


class StoragePolicy(TenantModel):
    """What an organisation keeps. Null means for ever, or the installation's default."""

    id = models.BigAutoField(primary_key=True)
    retain_days = models.IntegerField(null=True)
    keep_last = models.IntegerField(null=True)
    keep_best = models.IntegerField(null=True)
    keep_every = models.BigIntegerField(null=True)
    best_metric = models.CharField(max_length=256, blank=True)
    best_goal = models.CharField(max_length=3, default="min")

    class Meta(TenantModel.Meta):
        db_table = "storage_policy"
        constraints = (
            models.UniqueConstraint(fields=["tenant"], name="one_storage_policy_per_tenant"),
            models.CheckConstraint(
                condition=models.Q(retain_days__isnull=True) | models.Q(retain_days__gte=1), name="storage_policy_days"
            ),
        )


class OwnedFile(TenantModel):
    """A file of something that is no run, under its owner's id: as long as the row stands, the content stays."""

    id = models.BigAutoField(primary_key=True)
    owner = models.CharField(max_length=40)
    path = models.CharField(max_length=500)
    size_bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)

    class Meta(TenantModel.Meta):
        db_table = "owned_file"
        constraints = (models.UniqueConstraint(fields=["tenant", "owner", "path"], name="one_file_per_owner_and_path"),)
        indexes = (models.Index(fields=["tenant", "sha256"], name="owned_file_by_content"),)
