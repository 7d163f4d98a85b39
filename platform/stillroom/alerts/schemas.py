"""Shapes on the wire of rules, webhooks, events and deliveries."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from ninja import Schema
from pydantic import Field, FiniteFloat, StringConstraints

from stillroom.runs.schemas.fields import Tags
from stillroom.tenants.schemas import StrictSchema

Name = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=r"^[^\x00]*$")]
Key = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00]*$")]
Email = Annotated[str, StringConstraints(min_length=3, max_length=254)]
Url = Annotated[str, StringConstraints(min_length=8, max_length=2000)]
State = Literal[
    "HELD", "QUEUED", "ASSIGNED", "STARTING", "RUNNING", "STOPPING", "SUCCEEDED", "FAILED", "CANCELLED", "LOST"
]


class StateCondition(StrictSchema):
    """The run came into one of these states."""

    kind: Literal["state"]
    states: Annotated[list[State], Field(min_length=1, max_length=10)]


class MetricCondition(StrictSchema):
    """The metric's last points, reduced to one number, are on the wrong side of the threshold.

    window: how many last points, at most 1000; with `last` only the newest finite one counts.
    """

    kind: Literal["metric"]
    key: Key
    op: Literal["gt", "ge", "lt", "le"]
    threshold: FiniteFloat
    reduce: Literal["last", "mean", "min", "max"] = "last"
    window: Annotated[int, Field(ge=1, le=1000, strict=True)] = 1


class DivergenceCondition(StrictSchema):
    """A metric became NaN or infinite. key: only this one; without it any but those of the machine."""

    kind: Literal["divergence"]
    key: Key | None = None


class SilenceCondition(StrictSchema):
    """A running run has sent no batch for so long."""

    kind: Literal["silence"]
    minutes: Annotated[int, Field(ge=1, le=7 * 24 * 60, strict=True)]


Condition = Annotated[
    StateCondition | MetricCondition | DivergenceCondition | SilenceCondition, Field(discriminator="kind")
]


class AlertIn(StrictSchema):
    name: Name
    enabled: bool = True
    project: Annotated[str, Field(max_length=48)] | None = None
    recipe: Annotated[str, Field(max_length=64)] = ""
    tags: Tags = {}
    condition: Condition
    emails: Annotated[list[Email], Field(max_length=20)] = []
    webhooks: Annotated[list[Annotated[str, Field(max_length=16)]], Field(max_length=10)] = []


class AlertPatch(StrictSchema):
    name: Name | None = None
    enabled: bool | None = None
    recipe: Annotated[str, Field(max_length=64)] | None = None
    tags: Tags | None = None
    condition: Condition | None = None
    emails: Annotated[list[Email], Field(max_length=20)] | None = None
    webhooks: Annotated[list[Annotated[str, Field(max_length=16)]], Field(max_length=10)] | None = None


class AlertOut(Schema):
    id: str
    name: str
    enabled: bool
    project: str | None
    recipe: str
    tags: dict[str, str]
    condition: dict[str, Any]
    emails: list[str]
    webhooks: list[str]
    firing: int
    created_at: datetime


class AlertList(Schema):
    items: list[AlertOut]
    next_cursor: str | None = None


class AlertEventOut(Schema):
    id: int
    alert: str | None
    name: str
    run: str | None
    kind: str
    message: str
    detail: dict[str, Any]
    at: datetime
    deliveries: dict[str, int]


class AlertEventList(Schema):
    items: list[AlertEventOut]
    next_cursor: str | None


class WebhookIn(StrictSchema):
    name: Name
    url: Url
    enabled: bool = True


class WebhookPatch(StrictSchema):
    name: Name | None = None
    url: Url | None = None
    enabled: bool | None = None


class WebhookOut(Schema):
    """url is empty for those who may not manage webhooks: it often holds a secret."""

    id: str
    name: str
    url: str
    host: str
    enabled: bool
    created_at: datetime


class WebhookSecretOut(WebhookOut):
    secret: str


class WebhookList(Schema):
    items: list[WebhookOut]
    next_cursor: str | None = None


class DeliveryAttemptOut(Schema):
    at: datetime
    status: int | None
    error: str
    ms: int


class DeliveryOut(Schema):
    id: str
    event: int
    run: str
    state: str
    attempts: int
    next_at: datetime | None
    delivered_at: datetime | None
    created_at: datetime
    log: list[DeliveryAttemptOut]


class DeliveryList(Schema):
    items: list[DeliveryOut]
    next_cursor: str | None
