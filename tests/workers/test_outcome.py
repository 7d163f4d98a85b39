"""What an exit code, the last event and a wish to stop mean together."""

from __future__ import annotations

from typing import Any

import pytest

from workers.sandbox.outcome import MAX_MESSAGE_CHARS, Outcome, StopReason, judge

DONE = {"status": "succeeded", "error": None}


def ended(code: str, message: str = "m", **fields: str) -> dict[str, Any]:
    return {"status": "failed", "error": {"code": code, "message": message, "fields": fields}}


def test_success_needs_the_exit_code_and_the_word() -> None:
    assert judge(0, end=DONE, stop=None) == Outcome("succeeded", 0)
    silent = judge(0, end=None, stop=None)
    assert (silent.outcome, silent.code, silent.retryable) == ("failed", "run.ended_early", True)


@pytest.mark.parametrize("stop", list(StopReason))
def test_a_run_that_finishes_although_it_was_asked_to_stop_has_succeeded(stop: StopReason) -> None:
    assert judge(0, end=DONE, stop=stop, time_limit_s=1.0).outcome == "succeeded"


@pytest.mark.parametrize("exit_code", [3, -15, -9])
def test_stopping_on_request_is_no_failure(exit_code: int) -> None:
    outcome = judge(exit_code, end=None, stop=StopReason.INTENT)
    assert (outcome.outcome, outcome.error, outcome.retryable) == ("stopped", None, False)


def test_a_node_that_shuts_down_says_so() -> None:
    outcome = judge(3, end=None, stop=StopReason.SHUTDOWN)
    assert (outcome.outcome, outcome.code) == ("stopped", "node.shutdown")


@pytest.mark.parametrize("exit_code", [3, -9, 1])
def test_the_time_limit_is_a_failure_that_is_not_repeated(exit_code: int) -> None:
    outcome = judge(exit_code, end=None, stop=StopReason.TIME_LIMIT, time_limit_s=90.0)
    assert (outcome.outcome, outcome.code, outcome.retryable) == ("failed", "run.time_limit", False)
    assert "90 s" in outcome.message


def test_a_crash_while_stopping_is_still_a_crash() -> None:
    assert judge(1, end=ended("run.crashed"), stop=StopReason.INTENT).code == "run.crashed"


@pytest.mark.parametrize("code", ["training.non_finite", "run.out_of_memory", "artifact.name", "core.error"])
def test_a_verdict_of_the_model_core_is_final(code: str) -> None:
    outcome = judge(1, end=ended(code, "why"), stop=None)
    assert (outcome.code, outcome.message, outcome.retryable) == (code, "why", False)


@pytest.mark.parametrize("code", ["run.crashed", "checkpoint.invalid"])
def test_what_may_go_away_is_tried_again(code: str) -> None:
    assert judge(1, end=ended(code), stop=None).retryable


def test_a_refused_spec_names_its_fields_and_is_final() -> None:
    outcome = judge(2, end=ended("spec.invalid", "The spec is not valid.", **{"spec.lr": "Too large."}), stop=None)
    assert (outcome.code, outcome.retryable) == ("spec.invalid", False)
    assert "spec.lr: Too large." in outcome.message


def test_a_bare_exit_code_two_is_a_refused_spec() -> None:
    assert judge(2, end=None, stop=None).code == "spec.invalid"


def test_a_signal_is_named_and_tried_again() -> None:
    outcome = judge(-11, end=None, stop=None)
    assert (outcome.code, outcome.exit_code, outcome.retryable) == ("run.killed", -11, True)
    assert "SIGSEGV" in outcome.message


def test_a_kill_for_memory_is_not_tried_again_on_the_same_size() -> None:
    outcome = judge(-9, end=None, stop=None, out_of_memory=True)
    assert (outcome.code, outcome.retryable) == ("run.out_of_memory", False)
    assert judge(-15, end=None, stop=None, out_of_memory=True).code == "run.killed"


def test_python_running_out_of_memory_is_recognised() -> None:
    assert judge(1, end=ended("run.crashed", "MemoryError: "), stop=None).code == "run.out_of_memory"


def test_nobody_asked_but_the_run_stopped() -> None:
    outcome = judge(3, end={"status": "stopped", "error": None}, stop=None)
    assert (outcome.code, outcome.retryable) == ("run.interrupted", True)


def test_a_message_is_bounded() -> None:
    error = judge(1, end=ended("run.crashed", "x" * 100_000), stop=None).error
    assert error is not None
    assert len(error["message"]) == MAX_MESSAGE_CHARS
