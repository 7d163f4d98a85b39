"""Making benchmarks. A benchmark is frozen: what it ranks by never changes, a new version is a new row."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction

from stillroom.boards.models import Benchmark
from stillroom.boards.selectors import MISSING, spec_value
from stillroom.core.errors import Conflict, Invalid, NotFound
from stillroom.runs.catalog import recipe_get
from stillroom.tenants.callers import Member
from stillroom.tenants.services import audit


def benchmark_create(*, member: Member, values: dict[str, Any]) -> Benchmark:
    """Make a benchmark, or the next version of one with the same name.

    Raises Invalid when the recipe is unknown or no example of it has a frozen path, Conflict on a race for the version.
    """
    recipe = recipe_get(values["recipe"])
    examples = [example.spec.model_dump(mode="json") for example in recipe.examples]
    unknown = {
        f"frozen.{path}": "No spec of this recipe has this path."
        for path in values["frozen"]
        if all(spec_value(spec, path) is MISSING for spec in examples)
    }
    if unknown:
        raise Invalid("A frozen path does not exist in the recipe's spec.", fields=unknown)
    newest = (
        Benchmark.objects.filter(name=values["name"]).order_by("-version").values_list("version", flat=True).first()
    )
    try:
        with transaction.atomic():
            row = Benchmark.objects.create(tenant_id=member.tenant_id, version=(newest or 0) + 1, **values)
    except IntegrityError:
        raise Conflict("This version was made at the same moment. Try again.", fields={"name": "Taken."}) from None
    audit(
        actor=member.email,
        action="benchmark.create",
        object_id=row.id,
        tenant_id=member.tenant_id,
        after={"name": row.name, "version": row.version},
    )
    return row


def benchmark_update(*, member: Member, benchmark: Benchmark, values: dict[str, Any]) -> Benchmark:
    """Change what has no say in the ranking (description, columns), or set a target where there is none.

    A target once set stays: steps to another one do not compare. Raises Invalid for another, or for null anywhere,
    NotFound where it was deleted at the same moment.
    """
    null = {name: "Leave it out to keep it." for name, value in values.items() if value is None}
    if null:
        raise Invalid("A value cannot be taken away.", fields=null)
    # Locked, so that of two who set a target at once the second is refused.
    locked = Benchmark.objects.select_for_update(of=("self",)).select_related("tenant").filter(id=benchmark.id).first()
    if locked is None:
        raise NotFound("This leaderboard")
    benchmark = locked
    target = values.get("target", benchmark.target)
    if benchmark.target is not None and target != benchmark.target:
        raise Invalid(
            "The target is frozen. The same name again makes the next version, with another target.",
            fields={"target": f"Is {benchmark.target:g} in version {benchmark.version}."},
        )
    before = {name: getattr(benchmark, name) for name in values}
    for name, value in values.items():
        setattr(benchmark, name, value)
    benchmark.save(update_fields=list(values))
    audit(
        actor=member.email,
        action="benchmark.change",
        object_id=benchmark.id,
        tenant_id=member.tenant_id,
        before=before,
        after=values,
    )
    return benchmark


def benchmark_delete(*, member: Member, benchmark: Benchmark) -> None:
    """Remove a benchmark; its runs stay."""
    audit(
        actor=member.email,
        action="benchmark.delete",
        object_id=benchmark.id,
        tenant_id=member.tenant_id,
        before={"name": benchmark.name, "version": benchmark.version},
    )
    benchmark.delete()
