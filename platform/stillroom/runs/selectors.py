"""Questions about runs: access, lists, groups, history."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Count, F, FilteredRelation, Q, QuerySet

from models_core.events import encode_float
from stillroom.core.errors import Invalid, NotFound
from stillroom.core.intervals import interval
from stillroom.core.pagination import continued, decode_cursor, encode_cursor
from stillroom.core.tenancy import tenant_tx
from stillroom.runs.lifecycle import ACTIVE, TERMINAL, State
from stillroom.runs.models import Project, Run, Series, Study
from stillroom.runs.query.complete import Keys
from stillroom.runs.query.search import matching, ordering
from stillroom.runs.query.tree import QueryError
from stillroom.tenants.callers import Member
from stillroom.tenants.doors import Passage
from stillroom.tenants.policies import Can

SORTS = {"created_at": "created_at", "name": "name", "state": "state", "started_at": "started_at", "seed": "seed"}
# Sorting by a metric's last, lowest or highest value: "metric:eval/loss", "min:eval/loss", "max:eval/loss".
SUMMARY_SORTS = {"metric": "last", "min": "low", "max": "high"}


@contextmanager
def run_access(door: Passage, run_id: str) -> Iterator[tuple[Member, Run]]:
    """Enter the tenant of a run that the caller may see and act on; NotFound for any other id. Two queries an
    organisation.
    """
    for member in door.candidates():
        with tenant_tx(member.tenant_id):
            run = runs().filter(id=run_id).first()
            if run is not None:
                member.require(door.needs)
                yield member, run
                return
    raise NotFound("This run")


@contextmanager
def study_access(door: Passage, study_id: str) -> Iterator[tuple[Member, Study]]:
    """The same for a study."""
    for member in door.candidates():
        with tenant_tx(member.tenant_id):
            study = Study.objects.select_related("project", "tenant").filter(id=study_id).first()
            if study is not None:
                member.require(door.needs)
                yield member, study
                return
    raise NotFound("This study")


def project_get(slug: str) -> Project:
    """A project of the open tenant by its slug. One query."""
    project = Project.objects.filter(slug=slug).first()
    if project is None:
        raise NotFound("This project")
    return project


def projects() -> QuerySet[Project]:
    """The tenant's projects with counts of runs. One query."""
    return Project.objects.annotate(
        run_count=Count("runs", filter=Q(runs__trashed_at__isnull=True)),
        active_count=Count("runs", filter=Q(runs__state__in=[s.value for s in ACTIVE])),
    ).order_by("slug")


def runs() -> QuerySet[Run]:
    """Runs with everything that their rendering needs, in one query."""
    return Run.objects.select_related("project", "tenant", "fence", "created_by")


@dataclass(frozen=True, slots=True)
class RunFilter:
    """Which runs a list shows, and in which order."""

    q: str = ""
    states: tuple[str, ...] = ()
    recipe: str = ""
    study: str = ""
    spec_hash: str = ""
    project: Project | None = None
    sort: str = "-created_at"


@dataclass(slots=True)
class RunPage:
    """One page of runs with the metrics asked for, by run id and key."""

    items: list[Run]
    metrics: dict[str, dict[str, Series]]
    next_cursor: str | None
    total: int
    groups: list[RunGroup] = field(default_factory=list)


@dataclass(slots=True)
class RunGroup:
    """Runs that differ by seed alone."""

    spec_hash: str
    recipe: str
    label: str
    runs: list[str]
    states: dict[str, int]
    metrics: dict[str, dict[str, Any]]


def filtered(wanted: RunFilter) -> QuerySet[Run]:
    """The runs that match, unordered."""
    found = runs()
    if wanted.project is not None:
        found = found.filter(project=wanted.project)
    if wanted.q:
        found = matching(found, wanted.q)
    unknown = set(wanted.states) - {state.value for state in State}
    if unknown:
        raise Invalid("There is no such state.", fields={"state": f"Unknown: {', '.join(sorted(unknown))}."})
    if wanted.states:
        found = found.filter(state__in=wanted.states)
    for column in ("recipe", "study", "spec_hash"):
        value = getattr(wanted, column)
        if value:
            found = found.filter(**{column: value})
    return found


def run_page(wanted: RunFilter, *, columns: list[str], cursor: str | None, limit: int, grouped: bool) -> RunPage:
    """A page of runs. At most six queries, whatever the number of runs and metrics.

    Ids and sort values alone are sorted; whole runs are read for the page only.
    """
    found = filtered(wanted)
    total = found.count()
    found, column = _ordered(found.select_related(None), wanted.sort)
    with continued(cursor):
        if cursor:
            found = _after(found, decode_cursor(cursor, length=2), wanted.sort)
        places = list(found.values_list("id", column)[: limit + 1])
    more = len(places) > limit
    places = places[:limit]
    following = encode_cursor([_json(places[-1][1]), places[-1][0]]) if more else None
    whole = runs().in_bulk([run_id for run_id, _ in places])
    rows = [whole[run_id] for run_id, _ in places if run_id in whole]
    page = RunPage(rows, summaries([run.id for run in rows], columns), following, total)
    if grouped:
        page.groups = groups(filtered(wanted), columns)
    return page


def _ordered(found: QuerySet[Run], sort: str) -> tuple[QuerySet[Run], str]:
    """The runs in order, and the name of the column that they are sorted by."""
    name = sort.removeprefix("-")
    kind, _, key = name.partition(":")
    if kind in SUMMARY_SORTS and key:
        found = found.annotate(sort_series=FilteredRelation("series", condition=Q(series__key=key)))
        found = found.annotate(sort_value=F(f"sort_series__{SUMMARY_SORTS[kind]}"))
        column = "sort_value"
    elif name in SORTS:
        column = SORTS[name]
    else:
        found = found.annotate(sort_value=_sort_value(name))
        column = "sort_value"
    order = F(column).desc(nulls_last=True) if sort.startswith("-") else F(column).asc(nulls_last=True)
    return found.order_by(order, "-id"), column


def _sort_value(name: str) -> Any:
    try:
        return ordering(name)[0]
    except QueryError as error:
        raise Invalid(
            "Runs cannot be sorted by that.",
            fields={"sort": f"Use one of {', '.join(SORTS)}, metric:KEY or a field of the query language."},
            caret=error.extra["caret"],
        ) from None


def _after(found: QuerySet[Run], last: list[Any], sort: str) -> QuerySet[Run]:
    name = sort.removeprefix("-")
    column = SORTS.get(name, "sort_value")
    value, last_id = last
    if value is None:
        return found.filter(**{f"{column}__isnull": True}, id__lt=last_id)
    beyond = Q(**{f"{column}__{'lt' if sort.startswith('-') else 'gt'}": value})
    return found.filter(beyond | Q(**{f"{column}__isnull": True}) | Q(**{column: value}, id__lt=last_id))


def _json(value: Any) -> Any:
    if isinstance(value, float):
        return encode_float(value)
    return value.isoformat() if isinstance(value, datetime) else value


def summaries(run_ids: Iterable[str], keys: Iterable[str] | None = None) -> dict[str, dict[str, Series]]:
    """Metric summaries by run and key; every key when `keys` is None. One query."""
    rows = Series.objects.filter(run_id__in=list(run_ids))
    if keys is not None:
        rows = rows.filter(key__in=list(keys))
    found: dict[str, dict[str, Series]] = defaultdict(dict)
    for row in rows:
        found[row.run_id][row.key] = row
    return found


KEYS_FROM_RUNS = 200


def known_keys(project: Project | None) -> Keys:
    """Metric, parameter and tag keys of the newest runs of a project, or of all. Two queries."""
    newest = Run.objects.order_by("-created_at", "-id")
    if project is not None:
        newest = newest.filter(project=project)
    rows = list(newest.values_list("id", "spec", "tags")[:KEYS_FROM_RUNS])
    metrics = Series.objects.filter(run_id__in=[row[0] for row in rows]).values_list("key", flat=True)
    params = {path for _, spec, _ in rows for path in leaves(spec)}
    tags = {key for _, _, found in rows for key in found}
    return Keys(metrics=sorted(set(metrics.distinct()[:1000])), params=sorted(params), tags=sorted(tags))


def leaves(spec: Any, at: str = "") -> dict[str, str]:
    """The values of a spec as text by dotted path; lists and empty objects as JSON."""
    if isinstance(spec, dict) and (spec or not at):
        found: dict[str, str] = {}
        for key, value in spec.items():
            found |= leaves(value, f"{at}.{key}" if at else key)
        return found
    return {at: spec if isinstance(spec, str) else json.dumps(spec, ensure_ascii=False)}


def groups(found: QuerySet[Run], columns: list[str], *, most: int = 200) -> list[RunGroup]:
    """Runs grouped by everything but the seed, newest group first.

    Aggregates are over finished seeds: a seed that ran twice counts once, with its newest run. Two queries.
    """
    members: dict[str, list[dict[str, Any]]] = defaultdict(list)
    fields = ("id", "spec_hash", "recipe", "name", "arm", "state", "seed")
    for row in found.order_by("-created_at", "-id").values(*fields)[: most * 50]:
        members[row["spec_hash"] or row["id"]].append(row)
    chosen = dict(list(members.items())[:most])
    metrics = summaries([row["id"] for rows in chosen.values() for row in rows], columns) if columns else {}
    return [_group(rows, metrics, columns) for rows in chosen.values()]


def _group(rows: list[dict[str, Any]], metrics: dict[str, dict[str, Series]], columns: list[str]) -> RunGroup:
    first = rows[0]
    newest_of_seed = {row["seed"]: row["id"] for row in reversed(rows) if row["state"] == State.SUCCEEDED}
    done = list(newest_of_seed.values())
    aggregates: dict[str, dict[str, Any]] = {}
    for key in columns:
        values = [
            metrics[run][key].last for run in done if key in metrics.get(run, {}) and metrics[run][key].last is not None
        ]
        finite = [value for value in values if value is not None and value == value and abs(value) != float("inf")]
        if finite:
            found = interval(finite)
            aggregates[key] = {"mean": found.mean, "half_width": found.half_width, "n": found.n}
    return RunGroup(
        spec_hash=first["spec_hash"],
        recipe=first["recipe"],
        label=first["arm"] or first["name"].rsplit(", seed", 1)[0],
        runs=[row["id"] for row in sorted(rows, key=lambda row: row["seed"])],
        states=dict(Counter(row["state"] for row in rows)),
        metrics=aggregates,
    )


def allowed_actions(run: Run, can: frozenset[Can]) -> list[str]:
    """What this member may do with this run now; the buttons that a page shows."""
    state, actions = State(run.state), []
    if Can.RUN_CONTROL in can:
        if state not in TERMINAL and run.intent != "cancel":
            actions.append("cancel")
        if not run.external and state not in TERMINAL and state is not State.HELD and run.intent == "run":
            actions.append("pause")
        if state is State.HELD:
            actions.append("resume")
    if Can.RUN_SUBMIT in can and not run.external:
        actions += ["retry", "clone"] if state in TERMINAL else ["clone"]
    if Can.RUN_EDIT in can:
        actions += ["edit", "delete"] if state in TERMINAL else ["edit"]
    return actions
