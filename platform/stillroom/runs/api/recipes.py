"""Doors to the catalogue of recipes."""

from __future__ import annotations

from typing import Any

from models_core.catalog import Recipe
from stillroom.runs.catalog import recipe_get, recipes, spec_validate
from stillroom.runs.schemas.recipes import RecipeDetail, RecipeList, SpecIn, SpecOut, TemplateOut
from stillroom.tenants.doors import Door, DoorRequest
from stillroom.tenants.policies import Can

door = Door(tags=["recipes"])


@door.get("/recipes", needs=Can.SIGNED_IN, response=RecipeList)
def recipe_list(request: DoorRequest) -> object:
    """Every kind of experiment that can be launched."""
    return {"items": [_recipe(found) for found in recipes().values()]}


@door.get("/recipes/{name}", needs=Can.SIGNED_IN, response=RecipeDetail, by_alias=True)
def recipe_detail(request: DoorRequest, name: str) -> object:
    """One recipe with the JSON Schema of its spec."""
    found = recipe_get(name)
    return {**_recipe(found), "form_schema": found.schema()}


@door.post("/recipes/{name}/validate", needs=Can.SIGNED_IN, response=SpecOut)
def recipe_validate(request: DoorRequest, name: str, payload: SpecIn) -> object:
    """Check a spec without launching it; the answer has every default written out."""
    recipe_get(name)
    _, spec, spec_hash = spec_validate(name, payload.spec)
    return {"spec": spec, "spec_hash": spec_hash}


def _recipe(found: Recipe) -> dict[str, Any]:
    return {
        "name": found.name,
        "version": found.version,
        "title": found.title,
        "description": found.description,
        "family": found.family,
        "examples": [
            {"title": example.title, "spec": example.spec.model_dump(mode="json"), "cost_s": example.cost_s}
            for example in found.examples
        ],
        "templates": [TemplateOut.of(found, template) for template in found.templates],
        "metrics": [
            {"key": info.key, "unit": info.unit, "goal": info.goal, "help": info.help, "primary": info.primary}
            for info in found.metrics
        ],
    }
