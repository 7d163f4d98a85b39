"""Specs: what they refuse, and where they say the fault lies."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import pytest
from pydantic import Field, model_validator

from models_core.errors import SpecInvalid
from models_core.spec import Spec, field, merge, refuse, spec_hash


class Circle(Spec):
    kind: Literal["circle"] = field("circle", title="Kind", help="A circle.")
    radius: float = field(1.0, title="Radius", help="Of the circle.", gt=0, unit="m", section="Shape")


class Box(Spec):
    kind: Literal["box"] = field("box", title="Kind", help="A box.")
    width: float = field(1.0, title="Width", help="Of the box.", gt=0)
    height: float = field(1.0, title="Height", help="Of the box.", gt=0)

    @model_validator(mode="after")
    def _wide(self) -> Self:
        if self.height > self.width:
            refuse("height", "Must not exceed the width.")
        return self


class Drawing(Spec):
    shape: Annotated[Circle | Box, Field(discriminator="kind")] = field(Circle(), title="Shape", help="What is drawn.")
    layers: tuple[Box, ...] = field((), title="Layers", help="Boxes below.")
    copies: int = field(1, title="Copies", help="How many.", ge=1)


@pytest.mark.parametrize(
    ("payload", "fields"),
    [
        ({"copies": 0}, {"copies": "Must be at least 1."}),
        ({"copies": "3"}, {"copies": "Must be a whole number."}),
        ({"copys": 3}, {"copys": "Unknown field copys. Did you mean copies?"}),
        ({"shape": {"kind": "circle", "radius": -1}}, {"shape.radius": "Must be above 0."}),
        ({"shape": {"kind": "circle", "radios": 1}}, {"shape.radios": "Unknown field radios. Did you mean radius?"}),
        ({"shape": {"kind": "box", "height": 2}}, {"shape.height": "Must not exceed the width."}),
        ({"layers": [{}, {"height": 2}]}, {"layers.1.height": "Must not exceed the width."}),
        ({"shape": {"kind": "circle", "radius": None}}, {"shape.radius": "Must be a number."}),
    ],
)
def test_a_fault_is_reported_where_the_json_has_it(payload: dict[str, object], fields: dict[str, str]) -> None:
    with pytest.raises(SpecInvalid) as refusal:
        Drawing.parse(payload)
    assert refusal.value.fields == fields


def test_an_unknown_alternative_is_reported_at_the_union() -> None:
    with pytest.raises(SpecInvalid) as refusal:
        Drawing.parse({"shape": {"kind": "star"}})
    assert list(refusal.value.fields) == ["shape"]
    assert "'circle', 'box'" in refusal.value.fields["shape"]


@pytest.mark.parametrize("payload", [float("nan"), {"copies": float("inf")}, {1, 2}])
def test_what_is_no_json_is_refused(payload: object) -> None:
    with pytest.raises(SpecInvalid, match="not JSON"):
        Drawing.parse(payload)


def test_hash_ignores_how_a_spec_was_written_but_not_what_it_says() -> None:
    short, long = Drawing.parse({}), Drawing.parse({"copies": 1, "shape": {"radius": 1, "kind": "circle"}})
    other = Drawing.parse({"copies": 2})
    assert spec_hash("draw", "1", short) == spec_hash("draw", "1", long)
    assert len({spec_hash("draw", "1", short), spec_hash("draw", "1", other), spec_hash("draw", "2", short)}) == 3


def test_schema_carries_what_the_form_needs() -> None:
    radius = Drawing.model_json_schema()["$defs"]["Circle"]["properties"]["radius"]
    assert radius["title"] == "Radius"
    assert radius["description"] == "Of the circle."
    assert radius["unit"] == "m"
    assert radius["section"] == "Shape"
    assert radius["exclusiveMinimum"] == 0


def test_an_override_merges_objects_and_replaces_everything_else() -> None:
    base = {"copies": 2, "shape": {"kind": "circle", "radius": 2.0}}
    assert merge(Drawing, base, {"shape": {"radius": 3.0}}) == {"copies": 2, "shape": {"kind": "circle", "radius": 3.0}}
    assert merge(Drawing, base, {"copies": 4})["copies"] == 4  # type: ignore[index]


def test_an_override_that_chooses_another_shape_leaves_nothing_of_the_old_one() -> None:
    base = {"shape": {"kind": "circle", "radius": 2.0}}
    assert merge(Drawing, base, {"shape": {"kind": "box", "width": 1.0}}) == {"shape": {"kind": "box", "width": 1.0}}
    # An unknown field is not lost on the way to the validation that refuses it.
    assert merge(Drawing, base, {"colour": 1}) == {**base, "colour": 1}
