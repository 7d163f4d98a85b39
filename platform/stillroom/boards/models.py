"""The benchmark: a frozen part of a recipe's spec, a metric, a direction, and a number of seeds."""

from __future__ import annotations

from django.db import models

from stillroom.core import ids
from stillroom.core.tenancy import TenantModel


class Benchmark(TenantModel):
    """Runs of `recipe` whose spec has every value of `frozen` compete by `metric`. Rankings are computed, never
    stored. `columns`: further metrics, shown beside the rank and without a say in it.
    """

    class Reduce(models.TextChoices):
        LAST = "last"
        MIN = "min"
        MAX = "max"

    class Goal(models.TextChoices):
        MIN = "min"
        MAX = "max"

    id = models.CharField(primary_key=True, max_length=16, default=ids.benchmark_id, editable=False)
    name = models.CharField(max_length=200)
    description = models.TextField(blank=True)
    recipe = models.CharField(max_length=64)
    frozen = models.JSONField(default=dict)
    metric = models.CharField(max_length=256)
    reduce = models.CharField(max_length=4, choices=Reduce, default=Reduce.LAST)
    goal = models.CharField(max_length=3, choices=Goal)
    target = models.FloatField(null=True, blank=True)
    columns = models.JSONField(default=list)
    seeds = models.PositiveIntegerField(default=3)
    version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta(TenantModel.Meta):
        db_table = "benchmark"
        constraints = (models.UniqueConstraint(fields=["tenant", "name", "version"], name="benchmark_name_unique"),)

    def __str__(self) -> str:
        return self.name
