"""Shapes on the wire of organisations, members, tokens and audit entries."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from ninja import Schema
from pydantic import ConfigDict, Field

from stillroom.tenants.policies import Role, TokenScope

Name = Annotated[str, Field(min_length=1, max_length=100)]


class StrictSchema(Schema):
    """Input: an unknown field is an error that names it."""

    model_config = ConfigDict(extra="forbid")


class UserOut(Schema):
    id: str
    email: str
    name: str
    is_staff: bool


class MembershipOut(Schema):
    slug: str
    name: str
    role: Role
    can: list[str]


class MeOut(Schema):
    user: UserOut
    via: str
    orgs: list[MembershipOut]


class OrgOut(Schema):
    slug: str
    name: str
    role: Role
    created_at: datetime


class OrgList(Schema):
    items: list[OrgOut]
    next_cursor: str | None = None


class MemberIn(StrictSchema):
    email: Annotated[str, Field(max_length=254, pattern=r"^[^@\s]+@[^@\s]+$")]
    role: Role = Role.MEMBER


class MemberPatch(StrictSchema):
    role: Role


class MemberOut(Schema):
    user: str
    email: str
    name: str
    role: Role
    created_at: datetime


class MemberAdded(MemberOut):
    password: str | None = Field(None, description="First password of a new account, shown this once.")


class MemberList(Schema):
    items: list[MemberOut]
    next_cursor: str | None = None


class TokenIn(StrictSchema):
    name: Name
    scopes: Annotated[list[TokenScope], Field(min_length=1)] = [TokenScope.READ, TokenScope.WRITE]
    expires_in_days: Annotated[int, Field(ge=1, le=366)] = 90


class TokenOut(Schema):
    id: str
    name: str
    user: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime | None
    revoked_at: datetime | None


class TokenMade(TokenOut):
    token: str


class TokenList(Schema):
    items: list[TokenOut]
    next_cursor: str | None = None


class AuditOut(Schema):
    id: int
    at: datetime
    actor: str
    action: str
    object_id: str
    before: dict[str, object] | None
    after: dict[str, object] | None
    reason: str


class AuditList(Schema):
    items: list[AuditOut]
    next_cursor: str | None = None
