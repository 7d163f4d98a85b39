"""The catalogue of recipes: found by convention, read without any array library, read-only after start.

A module `models_core/recipes/<name>.py` is a recipe when it has `Spec`, `VERSION`, `EXAMPLES`, `METRICS` and `run`.
It may have `TEMPLATES`: studies of several arms that are worth launching as they are.
Its docstring's first line is the title, the rest the description.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

from models_core.errors import UnknownRecipe, UnknownTemplate
from models_core.events import Context, Event
from models_core.spec import Spec, merge, spec_hash


@dataclass(frozen=True, slots=True)
class MetricInfo:
    """What a metric key means. `goal` is None where neither direction is better."""

    key: str
    unit: str
    goal: Literal["min", "max"] | None
    help: str
    primary: bool = False


@dataclass(frozen=True, slots=True)
class Example:
    """A spec that runs as it is. `cost_s` is the expected wall time on two CPU cores, measured."""

    title: str
    spec: Spec
    cost_s: float


@dataclass(frozen=True, slots=True)
class StudyTemplate:
    """Arms of one recipe that answer a question together, each laid over the same spec.

    spec: what all arms share, laid over the recipe's defaults. arms: by name, what each changes. baseline: the arm
    against which the others are read, the first when empty. metric, x: what the study's page shows first; the recipe's
    primary metric over steps when empty. cost_s: expected wall time of the whole study on two CPU cores, measured; 0
    when it was not.
    """

    name: str
    title: str
    help: str
    arms: Mapping[str, Mapping[str, Any]]
    seeds: tuple[int, ...]
    spec: Mapping[str, Any] = field(default_factory=dict)
    baseline: str = ""
    metric: str = ""
    x: str = ""
    cost_s: float = 0.0

    def specs(self, spec_type: type[Spec]) -> dict[str, Spec]:
        """Each arm's whole spec; raises SpecInvalid where an arm contradicts the recipe."""
        return {name: spec_type.parse(merge(spec_type, self.spec, arm)) for name, arm in self.arms.items()}


@dataclass(frozen=True, slots=True)
class Recipe:
    """One kind of experiment: its declaration, and `run`, which imports its array libraries when called."""

    name: str
    version: str
    title: str
    description: str
    family: Literal["distillation", "optimizer", "federated", "model"]
    spec_type: type[Spec]
    examples: tuple[Example, ...]
    metrics: tuple[MetricInfo, ...]
    templates: tuple[StudyTemplate, ...]
    run: Callable[[Any, Context], Iterator[Event]]

    def schema(self) -> dict[str, Any]:
        """The JSON Schema (draft 2020-12) from which the form is drawn."""
        return self.spec_type.model_json_schema()

    def parse(self, payload: object) -> Spec:
        """Validate a spec; raises SpecInvalid with field locations."""
        return self.spec_type.parse(payload)

    def merge(self, base: object, override: object) -> object:
        """JSON data of one spec laid over another's, see `spec.merge`."""
        return merge(self.spec_type, base, override)

    def hash(self, spec: Spec) -> str:
        """The spec's identity, see `spec_hash`."""
        return spec_hash(self.name, self.version, spec)

    def template(self, name: str) -> StudyTemplate:
        """The study template of that name; raises UnknownTemplate, which lists those there are."""
        for template in self.templates:
            if template.name == name:
                return template
        known = ", ".join(template.name for template in self.templates) or "none"
        raise UnknownTemplate(
            f"{self.name} has no study template {name!r}. There are: {known}.", fields={"template": "Unknown."}
        )

    @property
    def primary_metric(self) -> MetricInfo:
        """The metric by which runs of this recipe are first compared."""
        return next(metric for metric in self.metrics if metric.primary)


@cache
def recipes() -> Mapping[str, Recipe]:
    """Every recipe by name, in alphabetical order."""
    package = importlib.import_module("models_core.recipes")
    names = sorted(info.name for info in pkgutil.iter_modules(package.__path__) if not info.name.startswith("_"))
    return MappingProxyType({name: _load(name) for name in names})


def recipe(name: str) -> Recipe:
    """The recipe of that name; raises UnknownRecipe, which lists the names there are."""
    try:
        return recipes()[name]
    except KeyError:
        known = ", ".join(recipes())
        raise UnknownRecipe(
            f"There is no recipe {name!r}. There are: {known}.", fields={"recipe": "Unknown."}
        ) from None


def _load(name: str) -> Recipe:
    module = importlib.import_module(f"models_core.recipes.{name}")
    title, _, description = inspect.cleandoc(module.__doc__ or "").partition("\n")
    return Recipe(
        name=name,
        version=module.VERSION,
        title=title.rstrip("."),
        description=description.strip(),
        family=module.FAMILY,
        spec_type=module.Spec,
        examples=tuple(module.EXAMPLES),
        metrics=tuple(module.METRICS),
        templates=tuple(getattr(module, "TEMPLATES", ())),
        run=module.run,
    )
