"""MLflow's errors: a code, the status that goes with it, a message."""

from __future__ import annotations

from typing import Literal

from stillroom.core.errors import StillroomError

Code = Literal[
    "BAD_REQUEST", "INVALID_PARAMETER_VALUE", "INVALID_STATE", "RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST",
    "ENDPOINT_NOT_FOUND", "UNAUTHENTICATED", "PERMISSION_DENIED", "REQUEST_LIMIT_EXCEEDED", "INTERNAL_ERROR",
    "NOT_IMPLEMENTED", "TEMPORARILY_UNAVAILABLE",
]  # fmt: skip
# INVALID_STATE is 500 in MLflow; its client repeats a 500, which could never help here.
STATUS: dict[str, int] = {
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "RESOURCE_DOES_NOT_EXIST": 404,
    "ENDPOINT_NOT_FOUND": 404,
    "REQUEST_LIMIT_EXCEEDED": 429,
    "INTERNAL_ERROR": 500,
    "NOT_IMPLEMENTED": 501,
    "TEMPORARILY_UNAVAILABLE": 503,
}
OF_STATUS: dict[int, Code] = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    409: "INVALID_STATE",
    429: "REQUEST_LIMIT_EXCEEDED",
    503: "TEMPORARILY_UNAVAILABLE",
    507: "TEMPORARILY_UNAVAILABLE",
}


class MlflowError(StillroomError):
    """A refusal in MLflow's words."""

    def __init__(self, code: Code, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.error_code = code
        self.http_status = status or STATUS.get(code, 400)


def invalid(message: str) -> MlflowError:
    """INVALID_PARAMETER_VALUE."""
    return MlflowError("INVALID_PARAMETER_VALUE", message)


def missing(message: str) -> MlflowError:
    """RESOURCE_DOES_NOT_EXIST, the same for another tenant's and for what never was."""
    return MlflowError("RESOURCE_DOES_NOT_EXIST", message)


def translated(error: StillroomError) -> tuple[int, Code, str]:
    """Status, code and message of any refusal."""
    if isinstance(error, MlflowError):
        return error.http_status, error.error_code, error.message
    status = {409: 400, 422: 400, 507: 503}.get(error.status, error.status)
    return status, OF_STATUS.get(error.status, "INVALID_PARAMETER_VALUE"), error.message
