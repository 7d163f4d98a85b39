"""The only door from the platform to the model core: recipes, their schemas and the validation of specs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from models_core import catalog
from models_core.catalog import Recipe, StudyTemplate
from models_core.errors import SpecInvalid, UnknownRecipe, UnknownTemplate
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


def template_get(recipe: str, name: str) -> StudyTemplate:
    """A study template; Invalid names the field that is unknown."""
    try:
        return _known(recipe).template(name)
    except UnknownTemplate as error:
        raise Invalid(error.message, fields={"template": "There is no such template."}, code=error.code) from None


def spec_merge(recipe: str, base: object, override: object) -> object:
    """One spec's JSON laid over another's; Invalid when there is no such recipe."""
    return _known(recipe).merge(base, override)


def spec_validate(
    recipe: str, payload: object, *, at: str = "spec", devices: int | None = None
) -> tuple[Recipe, dict[str, Any], str]:
    """The recipe, the spec with every default written out, and its hash.

    devices: how many the run asks for; None when that is not known. Raises Invalid whose `fields` start with `at`
    ("spec.optimizer.lr"), or name `resources.devices` when the spec needs more than that.
    """
    found = _known(recipe)
    try:
        spec = found.parse(payload)
    except SpecInvalid as error:
        fields = {f"{at}.{path}" if path else at: text for path, text in error.fields.items()}
        raise Invalid(error.message, fields=fields, code="spec.invalid") from None
    needed = spec.devices_needed()
    if devices is not None and needed > devices:
        message = f"This spec spreads over {needed} devices, and {devices} are asked for. It could never start."
        raise Invalid(message, fields={"resources.devices": f"At least {needed} for this spec."}, code="spec.devices")
    return found, spec.model_dump(mode="json"), found.hash(spec)


def spec_spread(recipe: str, spec: object) -> int:
    """Over how many devices the program of a stored spec spreads itself; what is wrong with the spec the run says."""
    try:
        return catalog.recipe(recipe).parse(spec).devices_needed()
    except (SpecInvalid, UnknownRecipe):
        return 1


def _known(recipe: str) -> Recipe:
    try:
        return catalog.recipe(recipe)
    except UnknownRecipe as error:
        raise Invalid(error.message, fields={"recipe": "There is no such recipe."}, code=error.code) from None
