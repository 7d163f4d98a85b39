"""What every recipe promises, for each that is found."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from models_core import catalog
from models_core.catalog import Recipe
from models_core.errors import SpecInvalid
from models_core.events import Artifact, Checkpoint, Context, Event, Metric, Progress
from models_core.spec import Spec

ROOT = Path(__file__).parents[3]
STEPS = 3
NAMES = sorted(catalog.recipes())
# What this family does in PyTorch is held to the same promises; the others' tests of their frameworks do so for theirs.
IN_TORCH = [name for name in NAMES if catalog.recipe(name).family == "optimizer"]
# Real time differs from run to run; everything else may not.
CLOCK_UNITS = {"s", "examples/s", "tokens/s", "steps/s", "share of peak"}
SMALLER = {
    "steps": STEPS,
    "teacher_steps": 2,
    "student_steps": 2,
    "server_steps": STEPS,
    "warmup_steps": 0,
    "eval_every": 2,
    "checkpoint_every": 1,
    "steps_per_call": 1,
    "train_bytes": 20_000,
    "length": 16,
    "sample_tokens": 8,
    "batch_size": 8,
    "clients": 14,
    "hidden": (8,),
}


@pytest.fixture(params=NAMES)
def recipe(request: pytest.FixtureRequest) -> Recipe:
    return catalog.recipe(request.param)


def shrunk(recipe: Recipe, **changes: Any) -> Spec:
    """The first example with small sizes for whatever it has of them."""
    payload = recipe.examples[0].spec.model_dump(mode="json") | changes
    payload |= {key: value for key, value in SMALLER.items() if key in payload}
    for part in payload.values():
        if isinstance(part, dict) and "n_layers" in part:
            part["n_layers"] = 1
    return recipe.parse(payload)


def events_of(recipe: Recipe, spec: Spec, **context: Any) -> Iterator[Event]:
    return recipe.run(spec, Context(**{"seed": 3} | context))


def metrics(recipe: Recipe, events: list[Event]) -> dict[tuple[int, str], float]:
    clocks = {info.key for info in recipe.metrics if info.unit in CLOCK_UNITS and not info.key.startswith("sim/")}
    return {
        (event.step, key): value
        for event in events
        if isinstance(event, Metric)
        for key, value in event.values.items()
        if key not in clocks
    }


def artifacts(events: list[Event]) -> dict[str, bytes]:
    return {event.name: event.content for event in events if isinstance(event, Artifact)}


def assert_equal_arrays(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name, strict=True)


def test_schema_draws_a_form(recipe: Recipe) -> None:
    schema = recipe.schema()
    json.dumps(schema, allow_nan=False)
    models = [schema, *schema.get("$defs", {}).values()]
    titles = [model["title"] for model in models]
    assert len(set(titles)) == len(titles)
    for model in models:
        for name, field in model.get("properties", {}).items():
            assert field.get("title"), f"{model['title']}.{name} has no title"
            assert field.get("description"), f"{model['title']}.{name} has no help"
            assert field.get("section"), f"{model['title']}.{name} has no section"


def test_declaration_is_complete(recipe: Recipe) -> None:
    assert recipe.title
    assert recipe.description
    assert recipe.examples
    assert sum(info.primary for info in recipe.metrics) == 1
    assert recipe.primary_metric.goal is not None
    assert len({info.key for info in recipe.metrics}) == len(recipe.metrics)
    assert all(info.help for info in recipe.metrics)
    assert all(example.cost_s > 0 for example in recipe.examples)
    assert any(example.cost_s <= 30 for example in recipe.examples)


def test_examples_are_valid_and_come_back_unchanged_from_json(recipe: Recipe) -> None:
    for example in recipe.examples:
        payload = json.loads(example.spec.canonical_json())
        assert recipe.parse(payload) == example.spec
        assert recipe.hash(recipe.parse(payload)) == recipe.hash(example.spec)


def test_unknown_fields_are_refused(recipe: Recipe) -> None:
    with pytest.raises(SpecInvalid) as refusal:
        recipe.parse({"no_such_field": 1})
    assert list(refusal.value.fields) == ["no_such_field"]


def test_declarations_load_no_array_library() -> None:
    code = (
        "import sys; from models_core import catalog, runner, __main__; "
        "assert [recipe.schema() for recipe in catalog.recipes().values()]; "
        "heavy = {'jax', 'jaxlib', 'numpy', 'scipy', 'optax', 'torch', 'sklearn', 'safetensors'} & set(sys.modules); "
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_study_templates_can_be_launched_and_their_arms_differ(recipe: Recipe) -> None:
    assert len({template.name for template in recipe.templates}) == len(recipe.templates)
    for template in recipe.templates:
        specs = template.specs(recipe.spec_type)
        assert len({recipe.hash(spec) for spec in specs.values()}) == len(specs) > 1
        assert template.baseline in {"", *specs}
        assert template.metric in {"", *(info.key for info in recipe.metrics)}
        assert template.x in {"", "step", "relative", *(info.key for info in recipe.metrics)}
        assert len(set(template.seeds)) == len(template.seeds) >= 3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "changes"),
    [(name, {}) for name in NAMES] + [(name, {"framework": "torch"}) for name in IN_TORCH],
    ids=lambda part: part if isinstance(part, str) else part.get("framework", ""),
)
def test_run_is_deterministic_stops_when_asked_and_resumes_bit_for_bit(
    name: str, changes: dict[str, Any], cache_dir: str
) -> None:
    recipe = catalog.recipe(name)
    spec = shrunk(recipe, **changes)
    whole = list(events_of(recipe, spec, cache_dir=cache_dir))
    again = list(events_of(recipe, spec, cache_dir=cache_dir))

    # Says what it measures, and measures the primary metric.
    reported = metrics(recipe, whole)
    known = {info.key for info in recipe.metrics}
    assert {key for event in whole if isinstance(event, Metric) for key in event.values} <= known
    assert recipe.primary_metric.key in {key for _, key in reported}
    # Infinity may mean "not reached"; nothing may be undefined.
    assert not any(np.isnan(value) for value in reported.values())
    progress = [event for event in whole if isinstance(event, Progress)]
    assert progress[-1].step == progress[-1].total
    assert artifacts(whole)

    # The same seed gives the same run, another seed another.
    assert metrics(recipe, again) == reported
    assert artifacts(again) == artifacts(whole)

    # A wish to stop after the first step of training is granted before a second one.
    saved = [event for event in whole if isinstance(event, Checkpoint)]
    asked = {"times": 0}

    def stop_after_one_step() -> bool:
        asked["times"] += 1
        return asked["times"] > 1

    stopped = list(events_of(recipe, spec, cache_dir=cache_dir, should_stop=stop_after_one_step))
    last = stopped[-1]
    assert isinstance(last, Checkpoint)
    assert last.step == saved[0].step == 1
    assert asked["times"] == 2
    assert_equal_arrays(last.arrays, saved[0].arrays)

    # From any checkpoint, also after a trip through JSON, the run goes on as if it had never stopped.
    for checkpoint in (last, saved[-1]):
        state = json.loads(json.dumps(dict(checkpoint.state)))
        resume = Checkpoint(checkpoint.step, dict(checkpoint.arrays), state)
        resumed = list(events_of(recipe, spec, cache_dir=cache_dir, resume=resume))
        expected = {place: value for place, value in reported.items() if place[0] > checkpoint.step}
        assert metrics(recipe, resumed) == expected
        assert artifacts(resumed) == artifacts(whole)
        rest = {event.step: event for event in resumed if isinstance(event, Checkpoint)}
        for event in saved:
            if event.step > checkpoint.step:
                assert_equal_arrays(rest[event.step].arrays, event.arrays)


def test_another_seed_is_another_run(recipe: Recipe, cache_dir: str) -> None:
    spec = shrunk(recipe)
    first, other = (
        next(
            event for event in events_of(recipe, spec, seed=seed, cache_dir=cache_dir) if isinstance(event, Checkpoint)
        )
        for seed in (3, 4)
    )
    assert any(not np.array_equal(first.arrays[name], other.arrays[name]) for name in first.arrays)


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("language_model", "model.window", 2**31),  # no position in int32 could be compared with it
        ("federated_training", "latency.overhead_s", 1e308),  # the simulated clock would be infinite
        ("federated_training", "latency.median_s_per_example", 1e308),
    ],
)
def test_numbers_with_which_no_run_could_start_are_refused(name: str, place: str, value: float) -> None:
    section, field = place.split(".")
    found = catalog.recipe(name)
    kinds = [example.spec.model_dump(mode="json") for example in found.examples]
    spec = next(spec for spec in kinds if field in spec[section])
    with pytest.raises(SpecInvalid) as refused:
        found.parse({**spec, section: {**spec[section], field: value}})
    assert [path for path in refused.value.fields if path.endswith(field)]
