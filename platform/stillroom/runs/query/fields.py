"""What a query may name: each field's kind and the SQL that reads it. Keys are bound parameters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from stillroom.runs.lifecycle import State
from stillroom.runs.query.tree import Name, QueryError

Kind = Literal["number", "span", "time", "text", "state", "loose", "metric"]
"""number; span: seconds; time: a moment; state: text of a fixed set; loose: text that may hold a number; metric: a
column of `series` under a key.
"""


@dataclass(frozen=True, slots=True)
class Source:
    """Where a value is read. For a metric `sql` is a column of `series` and `params` holds the key.

    strict: text must stand in quotes and is compared as text only (MLflow's rule). rows: `sql` is a query of several
    values, of which any may fit. options: every legal value.
    """

    kind: Kind
    sql: str
    params: tuple[object, ...] = ()
    strict: bool = False
    rows: bool = False
    options: tuple[str, ...] = ()
    rewrite: Callable[[str], str] | None = None


Resolver = Callable[[Name, str], Source]

_CREATOR = "(select u.email from account_user u where u.id = run.created_by_id)"
_PROJECT = "(select p.slug from project p where p.id = run.project_id)"
_GROUP = "coalesce((select s.name from study s where s.id = run.study_id), run.tags ->> 'group')"
DURATION = "extract(epoch from coalesce(run.ended_at, now()) - run.started_at)"

PLAIN: dict[str, tuple[Source, str]] = {
    "name": (Source("text", "run.name"), "the run's name"),
    "id": (Source("text", "run.id"), "the run's id"),
    "state": (
        Source("state", "run.state", options=tuple(state.value for state in State), rewrite=str.upper),
        "QUEUED, RUNNING, SUCCEEDED, ...",
    ),
    "created": (Source("time", "run.created_at"), "when it was made; 7d means since seven days ago"),
    "started": (Source("time", "run.started_at"), "when it first ran"),
    "ended": (Source("time", "run.ended_at"), "when it ended"),
    "duration": (Source("span", DURATION), "how long it ran: 90s, 15m, 2h"),
    "owner": (Source("text", _CREATOR), "the e-mail address of who made it"),
    "group": (Source("text", _GROUP), "the name of its study, or its tag `group`"),
    "study": (Source("text", "run.study_id"), "the id of its study"),
    "arm": (Source("text", "run.arm"), "its arm in the study"),
    "project": (Source("text", _PROJECT), "its project"),
    "recipe": (Source("text", "run.recipe"), "its recipe"),
    "spec_hash": (Source("text", "run.spec_hash"), "the hash of its spec"),
    "seed": (Source("number", "run.seed::float8"), "its seed"),
    "attempt": (Source("number", "run.attempt::float8"), "how often it was started"),
    "priority": (Source("number", "run.priority::float8"), "its priority in the queue"),
    "node": (Source("text", "run.node_name"), "the node that ran it"),
    "notes": (Source("text", "run.notes"), "its notes"),
    "reason": (Source("text", "run.reason"), "why it ended so"),
    "external": (Source("text", "run.external::text", options=("true", "false")), "whether a script logs it"),
}
ALIASES = {"run_id": "id", "run_name": "name", "status": "state", "start_time": "started", "end_time": "ended"}
METRIC_COLUMNS = {
    "last": "s.last",
    "min": "s.low",
    "max": "s.high",
    "n": "s.n::float8",
    "step": "s.last_step::float8",
}
ATTRIBUTE = frozenset({"attribute", "attributes", "attr", "run"})
METRIC = frozenset({"metric", "metrics"})
PARAM = frozenset({"param", "params", "parameter", "parameters"})
TAG = frozenset({"tag", "tags"})
ENTITIES = ("metrics.", "params.", "tags.", "spec.", *PLAIN)


def resolve(name: Name, text: str) -> Source:
    """The field of that name; raises QueryError."""
    entity = name.parts[0].lower()
    if len(name.parts) > 1:
        if entity in ATTRIBUTE:
            return plain(name.key, name, text)
        if entity in METRIC:
            return metric(name)
        if entity in PARAM:
            return parameter(name)
        if entity == "spec":
            return Source("loose", "(run.spec #> %s) #>> '{}'", (list(name.parts[1:]),))
        if entity in TAG:
            return tag(name)
    return plain(name.text, name, text)


def plain(key: str, name: Name, text: str) -> Source:
    """A field of the run itself."""
    found = PLAIN.get(ALIASES.get(key.lower(), key.lower()))
    if found is None:
        problem = f"There is no field {name.text!r}"
        if key.lower() in METRIC | PARAM | TAG | {"spec"}:
            problem = f"{name.text} needs a key, as in {name.text}.name,"
        raise QueryError(problem, text=text, at=name.at, expected=ENTITIES)
    return found[0]


def metric(name: Name) -> Source:
    """`metrics.loss` is the last value; `.min`, `.max`, `.n`, `.step` ask for another column, unless quoted."""
    column, key = "last", name.key
    if len(name.parts) > 2 and not name.quoted[-1] and name.parts[-1] in METRIC_COLUMNS:
        column, key = name.parts[-1], ".".join(name.parts[1:-1])
    return Source("metric", METRIC_COLUMNS[column], (key,))


def parameter(name: Name) -> Source:
    """A value of the spec by its dotted path, or a script's parameter of that very name."""
    path = [part for section in name.parts[1:] for part in section.split(".")]
    return Source("loose", "coalesce(run.spec ->> %s, run.spec #>> %s)", (name.key, path))


def tag(name: Name) -> Source:
    return Source("loose", "(run.tags ->> %s)", (name.key,))
