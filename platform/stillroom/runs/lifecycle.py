"""The life of a run: which state may follow which, and who moves it. The database trigger, the API and the page
follow this table.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """The stored states. Lost, preempted, out of memory are reasons of an attempt, not states (LOST: external runs
    only).
    """

    HELD = "HELD"
    QUEUED = "QUEUED"
    ASSIGNED = "ASSIGNED"
    STARTING = "STARTING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    LOST = "LOST"


class Intent(StrEnum):
    """What the user or the scheduler wants; during an attempt it may only rise."""

    RUN = "run"
    PREEMPT = "preempt"
    PAUSE = "pause"
    CANCEL = "cancel"


class Outcome(StrEnum):
    """How an agent says that an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    STOPPED = "stopped"


WAITING = frozenset({State.HELD, State.QUEUED})
ACTIVE = frozenset({State.ASSIGNED, State.STARTING, State.RUNNING, State.STOPPING})
TERMINAL = frozenset({State.SUCCEEDED, State.FAILED, State.CANCELLED, State.LOST})
INTENT_RANK = {intent: rank for rank, intent in enumerate(Intent)}

_AFTER_ATTEMPT = {State.QUEUED, State.HELD, State.FAILED, State.CANCELLED}
FOLLOWS: dict[State, frozenset[State]] = {
    State.HELD: frozenset({State.QUEUED, State.CANCELLED}),
    State.QUEUED: frozenset({State.HELD, State.ASSIGNED, State.CANCELLED}),
    State.ASSIGNED: frozenset({State.STARTING, *_AFTER_ATTEMPT}),
    State.STARTING: frozenset({State.RUNNING, State.STOPPING, State.SUCCEEDED, *_AFTER_ATTEMPT}),
    State.RUNNING: frozenset({State.STOPPING, State.SUCCEEDED, State.LOST, *_AFTER_ATTEMPT}),
    State.STOPPING: frozenset({State.SUCCEEDED, *_AFTER_ATTEMPT}),
    State.SUCCEEDED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
    State.LOST: frozenset(),
}


def may_follow(old: State, new: State) -> bool:
    """Whether the table allows `old` to be followed by `new`."""
    return new in FOLLOWS[old]


def rises(current: Intent, wanted: Intent) -> bool:
    """Whether an attempt's intent may move from `current` to `wanted`."""
    return INTENT_RANK[wanted] > INTENT_RANK[current]


def after_stop(intent: Intent) -> State:
    """Where a run goes when its attempt stopped because of `intent`."""
    return {Intent.CANCEL: State.CANCELLED, Intent.PAUSE: State.HELD}.get(intent, State.QUEUED)


def trigger_sql() -> str:
    """The BEFORE UPDATE trigger that enforces the table and the growth of epochs in the database."""
    pairs = ", ".join(f"('{old}', '{new}')" for old, following in sorted(FOLLOWS.items()) for new in sorted(following))
    terminal = ", ".join(f"'{state}'" for state in sorted(TERMINAL))
    return f"""
create or replace function run_guard() returns trigger language plpgsql as $$
begin
    if new.epoch < old.epoch then
        raise exception 'run %: epoch may not fall from % to %', old.id, old.epoch, new.epoch;
    end if;
    if new.state <> old.state and (old.state, new.state) not in ({pairs})
       and not (old.external and old.state in ({terminal}) and new.state = 'RUNNING' and new.epoch > old.epoch) then
        raise exception 'run %: % may not follow %', old.id, new.state, old.state;
    end if;
    return new;
end $$;
drop trigger if exists run_guard on run;
create trigger run_guard before update on run for each row execute function run_guard();
"""
