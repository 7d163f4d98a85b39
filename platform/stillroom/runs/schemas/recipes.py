"""Recipes and specs on the wire."""

from __future__ import annotations

from typing import Any, Literal

from ninja import Schema
from pydantic import Field

from models_core.catalog import Recipe, StudyTemplate
from stillroom.tenants.schemas import StrictSchema


class ExampleOut(Schema):
    title: str
    spec: dict[str, Any]
    cost_s: float


class MetricInfoOut(Schema):
    key: str
    unit: str
    goal: Literal["min", "max"] | None
    help: str
    primary: bool


class TemplateArmOut(Schema):
    name: str
    spec: dict[str, Any]


class TemplateOut(Schema):
    """A study that can be launched as it is; `spec` has every default written out, an arm's `spec` what it changes."""

    name: str
    title: str
    help: str
    spec: dict[str, Any]
    arms: list[TemplateArmOut]
    seeds: list[int]
    baseline: str
    metric: str
    x: str
    cost_s: float

    @staticmethod
    def of(recipe: Recipe, template: StudyTemplate) -> dict[str, Any]:
        return {
            "name": template.name,
            "title": template.title,
            "help": template.help,
            "spec": recipe.parse(template.spec).model_dump(mode="json"),
            "arms": [{"name": name, "spec": spec} for name, spec in template.arms.items()],
            "seeds": template.seeds,
            "baseline": template.baseline or next(iter(template.arms)),
            "metric": template.metric or recipe.primary_metric.key,
            "x": template.x or "step",
            "cost_s": template.cost_s,
        }


class RecipeOut(Schema):
    name: str
    version: str
    title: str
    description: str
    family: str
    examples: list[ExampleOut]
    templates: list[TemplateOut]
    metrics: list[MetricInfoOut]


class RecipeDetail(RecipeOut):
    form_schema: dict[str, Any] = Field(serialization_alias="schema")


class RecipeList(Schema):
    items: list[RecipeOut]
    next_cursor: str | None = None


class SpecIn(StrictSchema):
    spec: dict[str, Any]


class SpecOut(Schema):
    spec: dict[str, Any]
    spec_hash: str
