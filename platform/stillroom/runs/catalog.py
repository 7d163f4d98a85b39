"""The only door from the platform to the model core: recipes, their schemas and the validation of specs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models_core import catalog
from models_core.catalog import Recipe
from models_core.errors import SpecInvalid, UnknownRecipe
from stillroom.core.errors import Invalid, NotFound


def recipes() -> Mapping[str, Recipe]:
    """Every recipe by name."""
    return catalog.recipes()


def recipe_get(name: str) -> Recipe:
    """One recipe; NotFound when there is none of that name."""
    try:
        return catalog.recipe(name)
    except UnknownRecipe:
        raise NotFound(f"The recipe {name!r}") from None


def spec_validate(recipe: str, payload: object, *, at: str = "spec") -> tuple[Recipe, dict[str, Any], str]:
    """The recipe, the spec with every default written out, and its hash.

    Raises Invalid whose `fields` start with `at` ("spec.optimizer.lr").
    """
    try:
        found = catalog.recipe(recipe)
        spec = found.parse(payload)
    except UnknownRecipe as error:
        raise Invalid(error.message, fields={"recipe": "There is no such recipe."}, code="recipe.unknown") from None
    except SpecInvalid as error:
        fields = {f"{at}.{path}" if path else at: text for path, text in error.fields.items()}
        raise Invalid(error.message, fields=fields, code="spec.invalid") from None
    return found, spec.model_dump(mode="json"), found.hash(spec)
