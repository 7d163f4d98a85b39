"""Decides what a finished process means: succeeded, stopped or failed, why, and whether to try again. Pure."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

MAX_MESSAGE_CHARS = 2_000
EXIT_SUCCEEDED, EXIT_FAILED, EXIT_BAD_SPEC, EXIT_STOPPED = 0, 1, 2, 3

# Codes of the model core that may go away with another attempt: a crash that nobody foresaw, a damaged checkpoint
# (the platform falls back to the one before), an interruption. Any other is a verdict on the spec or the numbers.
RETRYABLE_CODES = frozenset({"run.crashed", "run.interrupted", "checkpoint.invalid"})


class StopReason(Enum):
    """Who asked the run to stop."""

    INTENT = "intent"
    TIME_LIMIT = "time_limit"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended, in the words of `POST /agent/runs/{run}/finish`."""

    outcome: str
    exit_code: int | None = None
    code: str | None = None
    message: str = ""
    retryable: bool = False

    @property
    def error(self) -> dict[str, str] | None:
        return {"code": self.code, "message": self.message[:MAX_MESSAGE_CHARS]} if self.code else None


def judge(
    exit_code: int,
    *,
    end: Mapping[str, Any] | None,
    stop: StopReason | None,
    time_limit_s: float | None = None,
    out_of_memory: bool = False,
) -> Outcome:
    """exit_code: as subprocess gives it, minus the signal when killed. end: the run's last event, if it came.

    stop: who asked the run to stop before it ended. out_of_memory: the kernel killed for memory meanwhile.
    """
    if exit_code == EXIT_SUCCEEDED and end is not None and end.get("status") == "succeeded":
        return Outcome("succeeded", exit_code)
    if stop is StopReason.TIME_LIMIT:
        message = f"The run did not end within its time limit of {time_limit_s:g} s."
        return Outcome("failed", exit_code, "run.time_limit", message)
    if stop is not None and (exit_code == EXIT_STOPPED or exit_code < 0):
        shutdown = stop is StopReason.SHUTDOWN
        why = "The node shut down." if shutdown else ""
        return Outcome("stopped", exit_code, "node.shutdown" if shutdown else None, why, retryable=shutdown)
    if exit_code < 0:
        return _killed(-exit_code, out_of_memory)
    if exit_code == EXIT_BAD_SPEC:
        return _described(exit_code, end, "spec.invalid", "The recipe on this node refused the spec.", False)
    if exit_code == EXIT_STOPPED:
        return Outcome(
            "failed", exit_code, "run.interrupted", "Something other than the platform stopped the run.", True
        )
    if exit_code == EXIT_SUCCEEDED:
        return Outcome(
            "failed", exit_code, "run.ended_early", "The process left without saying how the run ended.", True
        )
    return _described(exit_code, end, "run.crashed", f"The process ended with exit code {exit_code}.", True)


def _killed(number: int, out_of_memory: bool) -> Outcome:
    if out_of_memory and number == signal.SIGKILL:
        return Outcome("failed", -number, "run.out_of_memory", "The kernel ended the run: the node is out of memory.")
    return Outcome("failed", -number, "run.killed", f"The process was ended by {_name(number)}.", retryable=True)


def _described(exit_code: int, end: Mapping[str, Any] | None, code: str, message: str, retryable: bool) -> Outcome:
    error = (end or {}).get("error")
    if isinstance(error, Mapping) and isinstance(error.get("code"), str):
        code = str(error["code"])
        fields = error.get("fields")
        places = [f"{where}: {text}" for where, text in fields.items()] if isinstance(fields, Mapping) else []
        message = " ".join([str(error.get("message") or message), *places])
        retryable = code in RETRYABLE_CODES
    if code == "run.crashed" and message.startswith("MemoryError"):
        code, retryable = "run.out_of_memory", False
    return Outcome("failed", exit_code, code, message, retryable)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
