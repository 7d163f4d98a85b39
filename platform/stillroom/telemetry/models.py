"""Series chunks, log chunks and artifacts. Only this app's services and selectors name these tables."""

from __future__ import annotations

from django.db import models

from stillroom.core.tenancy import TenantModel


class SeriesChunk(TenantModel):
    """Points of one series as compressed columns. `seq_lo`..`seq_hi` are the ingest batches it holds."""

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
