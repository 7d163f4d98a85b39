"""The search language: what it finds, against a plain Python reading of it, and where its errors point."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from stillroom.runs.models import Project, Run, RunFence, Series
from stillroom.runs.query.complete import Keys, complete
from stillroom.runs.query.parse import is_query, parse
from stillroom.runs.query.search import ordering, satisfying
from stillroom.runs.query.tree import QueryError
from stillroom.runs.selectors import runs
from support.cast import PROJECT, Cast, in_tenant
from support.database import superuser

EXAMPLES = 150
NASTY = "'; drop table run; --"
RELAXED = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@dataclass(frozen=True)
class Facts:
    """What the oracle knows about a run."""

    name: str
    metrics: dict[str, float]
    params: dict[str, str]
    tags: dict[str, str]
    state: str = "SUCCEEDED"
    seed: int = 0


FACTS = [
    Facts("alpha", {"loss": 0.5, "acc": 0.9}, {"lr": "0.1", "opt": "sgd"}, {"team": "red"}, seed=1),
    Facts("beta", {"loss": 1.5, "acc": math.nan}, {"lr": "0.01", "opt": "adam"}, {"team": "blue", "a b": "x"}),
    Facts("Gamma_1", {"loss": math.inf}, {"lr": "1e-3"}, {}, "FAILED", 2),
    Facts("delta%", {}, {"opt": "Adam", "lr": "high"}, {"team": ""}, "FAILED"),
    Facts(NASTY, {"loss": -2.0, "a.b": 3.0}, {"lr": "5", "mod.width": "64"}, {"team": NASTY}, seed=7),
    Facts("épsilon", {"loss": 0.5}, {"lr": "-4.5"}, {"team": "red", "mlflow.user": "zoë"}),
]


@pytest.fixture
def world(cast: Cast) -> Cast:
    """The facts as rows."""
    with in_tenant(cast.ada):
        project = Project.objects.get(slug=PROJECT)
        now = timezone.now()
        for facts in FACTS:
            run = Run.objects.create(
                tenant_id=cast.ada.tenant, project=project, name=facts.name, external=True, state=facts.state,
                spec=facts.params, tags=facts.tags, seed=facts.seed, started_at=now,
                ended_at=now + timedelta(minutes=1),
            )  # fmt: skip
            RunFence.objects.create(tenant_id=cast.ada.tenant, run=run)
            for key, value in facts.metrics.items():
                Series.objects.create(
                    tenant_id=cast.ada.tenant, run=run, key=key, n=1, last=value, last_step=0,
                    low=value if math.isfinite(value) else None, high=value if math.isfinite(value) else None,
                )  # fmt: skip
    return cast


def found(world: Cast, query: str) -> set[str]:
    with in_tenant(world.ada):
        return {run.name for run in satisfying(runs(), query)}


COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
Case = tuple[str, Callable[[Facts], bool]]


def like(pattern: str, text: str, *, fold: bool) -> bool:
    parts = (".*" if c == "%" else "." if c == "_" else re.escape(c) for c in pattern)
    return re.fullmatch("".join(parts), text, re.DOTALL | (re.IGNORECASE if fold else 0)) is not None


def literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


WORDS = st.sampled_from(
    ["red", "blue", "", "sgd", "adam", "ADAM", NASTY, "%a%", "_lpha", "G%", "zoë", "0.1", "delta%", "\\", "%\\%", '"']
)
NUMBERS = st.sampled_from([0.5, 1.5, -2.0, 0.0, 3.0, 0.01, 64.0, 1e300]) | st.floats(-10, 10, allow_nan=False)


@st.composite
def metric_clause(draw: st.DrawFn) -> Case:
    key, operator, bound = (
        draw(st.sampled_from(["loss", "acc", "a.b", "none"])),
        draw(st.sampled_from(list(COMPARE))),
        draw(NUMBERS),
    )
    entity = draw(st.sampled_from(["metrics", "metric"]))

    def holds(facts: Facts) -> bool:
        value = facts.metrics.get(key)
        return value is not None and COMPARE[operator](value, bound)

    return f"{entity}.{key} {operator} {bound!r}", holds


@st.composite
def text_clause(draw: st.DrawFn) -> Case:
    entity, key = draw(
        st.sampled_from(
            [
                ("params", "opt"),
                ("param", "lr"),
                ("tags", "team"),
                ("tag", "`a b`"),
                ("", "name"),
                ("params", "mod.width"),
            ]
        )
    )
    operator = draw(st.sampled_from(["=", "!=", "LIKE", "ILIKE", "NOT LIKE", "in", "not in", "is null", "IS NOT NULL"]))
    words = draw(st.lists(WORDS, min_size=1, max_size=3))

    def value(facts: Facts) -> str | None:
        if not entity:
            return facts.name
        return (facts.params if entity.startswith("param") else facts.tags).get(key.strip("`"))

    tests: dict[str, Callable[[str], bool]] = {
        "=": lambda text: text == words[0],
        "!=": lambda text: text != words[0],
        "LIKE": lambda text: like(words[0], text, fold=False),
        "ILIKE": lambda text: like(words[0], text, fold=True),
        "NOT LIKE": lambda text: not like(words[0], text, fold=False),
        "in": lambda text: text in words,
        "not in": lambda text: text not in words,
        "IS NOT NULL": lambda text: True,
    }

    def holds(facts: Facts) -> bool:
        text = value(facts)
        if operator == "is null":
            return text is None
        return text is not None and tests[operator](text)

    field = f"{entity}.{key}" if entity else key
    if "null" in operator.lower():
        return f"{field} {operator}", holds
    if "in" in operator.split():
        return f"{field} {operator} ({', '.join(map(literal, words))})", holds
    return f"{field} {operator} {literal(words[0])}", holds


@st.composite
def numeric_param_clause(draw: st.DrawFn) -> Case:
    operator, bound = draw(st.sampled_from(list(COMPARE))), draw(NUMBERS)

    def holds(facts: Facts) -> bool:
        try:
            return COMPARE[operator](float(facts.params["lr"]), bound)
        except (KeyError, ValueError):
            return False

    return f"spec.lr {operator} {bound!r}", holds


def joined(parts: list[Case], word: str, test: Callable[[Any], bool]) -> Case:
    text = f" {word} ".join(f"({text})" for text, _ in parts)
    return text, lambda facts: test(holds(facts) for _, holds in parts)


def negated(case: Case) -> Case:
    return f"not ({case[0]})", lambda facts: not case[1](facts)


QUERIES = st.recursive(
    metric_clause() | text_clause() | numeric_param_clause(),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: joined(parts, "AND", all)),
        st.lists(inner, min_size=2, max_size=3).map(lambda parts: joined(parts, "or", any)),
        inner.map(negated),
    ),
    max_leaves=6,
)


def test_generated_queries_find_what_plain_python_finds(world: Cast) -> None:
    @RELAXED
    @given(QUERIES)
    def check(case: Case) -> None:
        text, holds = case
        assert found(world, text) == {facts.name for facts in FACTS if holds(facts)}, text

    check()


def test_any_text_is_understood_or_refused_with_a_place(world: Cast) -> None:
    pieces = st.lists(
        st.sampled_from(
            ["metrics.", "loss", " ", "<", ">=", "'", '"', "`", "(", ")", ",", "AND ", " or ", "not ", "in", "like",
             "~", "7d", "1e999", "x", "null", "is ", ".", "=", "!", "tags.", "created", NASTY, "\\", "%s", "%", "{",
             "\x00", "é"]
        ),
        max_size=12,
    ).map("".join)  # fmt: skip

    @RELAXED
    @given(st.text(max_size=60) | pieces)
    @example("spec.a ~ '('")
    @example("created > 1e308")
    @example("created > 99999999y")
    @example("params.lr < 1e999")
    @example("(" * 3000 + "name = 'a'" + ")" * 3000)
    @example("not " * 500 + "name = 'a'")
    def check(text: str) -> None:
        try:
            found(world, text)
        except QueryError as refusal:
            places.append((refusal.extra["column"], len(text), refusal.extra["caret"].count("\n")))
        assert is_query(text) in (True, False)

    places: list[tuple[int, int, int]] = []
    check()
    assert places
    assert all(1 <= column <= length + 1 and lines == 1 for column, length, lines in places)
    assert found(world, "name != 'x'") == {facts.name for facts in FACTS}, "nothing was dropped"


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("name ~ '^a.*a$'", {"alpha"}),
        ("name ~* 'GAMMA'", {"Gamma_1"}),
        ("name !~ 'a'", {"épsilon"}),
        ("state = failed", {"Gamma_1", "delta%"}),
        ("attributes.state IN ('FAILED', 'LOST')", {"Gamma_1", "delta%"}),
        ("seed > 1", {"Gamma_1", NASTY}),
        ("duration >= 1m and duration < 0.5h and seed = 1", {"alpha"}),
        ("created > 7d and owner is null and seed = 7", {NASTY}),
        ("created < 2020-01-01", set()),
        ("metrics.loss.min = 0.5", {"alpha", "épsilon"}),
        ("metrics.`a.b`.max = 3", {NASTY}),
        ('metrics."loss" > 1e10', {"Gamma_1"}),
        ("metrics.acc IS NULL", {"Gamma_1", "delta%", NASTY, "épsilon"}),
        ("tags.`a b` = x", {"beta"}),
        ("tags.mlflow.user = 'zoë'", {"épsilon"}),
        ("params.lr IN (5, 0.1)", {"alpha", NASTY}),
        ("spec.mod.width IS NULL and name like '%;%'", set()),
        (f"name = {literal(NASTY)}", {NASTY}),
        ("project = first AND group IS NULL AND seed IN (1, 2)", {"alpha", "Gamma_1"}),
    ],
)
def test_examples(world: Cast, query: str, names: set[str]) -> None:
    if "spec.mod.width" in query:  # a script's parameter is one key, not a path
        names = {NASTY}
    assert found(world, query) == names


@pytest.mark.parametrize(
    ("query", "column", "says"),
    [
        ("metrics.loss > > 3", 16, "a value"),
        ("metrics.loss >", 15, "ends too early"),
        ("loss < 3", 1, "no field 'loss'"),
        ("metrics < 3", 1, "needs a key"),
        ("metrics.loss < abc", 16, "a number"),
        ("metrics.loss LIKE 'x'", 14, "does not fit"),
        ("state = DANCING", 9, "QUEUED"),
        ("name = 'open", 8, "quote"),
        ("name ~ '('", 8, "regular expression"),
        ("name ~ '(a)\\1'", 8, "refer back"),
        ("duration > soon", 12, "15m"),
        ("created > 'some day'", 11, "2026-01-31"),
        ("seed = 1 AND", 13, "ends too early"),
        ("seed = 1 seed = 2", 10, "AND"),
        ("(seed = 1", 10, "ends too early"),
    ],
)
def test_an_error_points_at_the_character(world: Cast, query: str, column: int, says: str) -> None:
    answer = world.ada.http.get("/runs", QUERY_STRING=f"q={_quote(query)}")
    assert (answer.status, answer.body["code"]) == (422, "query.invalid")
    assert answer.body["column"] == column
    line, mark = answer.body["caret"].split("\n")
    assert line == query
    assert mark.index("^") == column - 1
    assert says in answer.body["message"]
    assert answer.body["fields"]["q"] == answer.body["message"]


def _quote(text: str) -> str:
    from urllib.parse import quote

    return quote(text)


def test_words_are_still_a_search_for_words(world: Cast) -> None:
    def names(query: str) -> set[str]:
        answer = world.ada.http.get("/runs", QUERY_STRING=f"q={_quote(query)}")
        assert answer.status == 200, answer.text
        return {run["name"] for run in answer.body["items"]}

    assert names("alph") == {"alpha"}
    assert names("team") == {facts.name for facts in FACTS if "team" in facts.tags}
    assert names('"drop table"') == {NASTY}
    assert names("tags.team = red and metrics.loss < 1") == {"alpha", "épsilon"}


def test_runs_sort_and_page_by_any_field(world: Cast) -> None:
    for sort, first in (("metrics.loss.min", NASTY), ("-params.lr", NASTY), ("tags.team", "delta%"), ("-seed", NASTY)):
        seen: list[str] = []
        cursor = ""
        while cursor is not None:
            answer = world.ada.http.get("/runs", QUERY_STRING=f"sort={_quote(sort)}&limit=2&cursor={cursor}")
            assert answer.status == 200, answer.text
            seen += [run["name"] for run in answer.body["items"]]
            cursor = answer.body["next_cursor"]
        if sort != "tags.team":
            assert seen[0] == first, sort
        assert sorted(seen) == sorted(facts.name for facts in FACTS), sort
    refused = world.ada.http.get("/runs", QUERY_STRING="sort=nonsense")
    assert (refused.status, list(refused.body["fields"])) == (422, ["sort"])


def test_completion_knows_fields_keys_operators_and_values(world: Cast) -> None:
    def offers(text: str, at: int | None = None) -> list[str]:
        place = "" if at is None else f"&at={at}"
        path = f"/orgs/aster/projects/{PROJECT}/query/complete"
        return [
            item["insert"] for item in world.vera.http.get(path, QUERY_STRING=f"q={_quote(text)}{place}").body["items"]
        ]

    assert offers("metrics.lo") == ["metrics.loss"]
    assert "tags.`a b`" in offers("tags.")
    assert "params.lr" in offers("seed = 1 and par")
    assert {"=", "<", "LIKE"} <= set(offers("metrics.loss "))
    assert "FAILED" in offers("state = FA")
    assert offers("name = 'x' ") == ["AND", "OR"]
    assert offers("name = = ") == []
    assert offers("seed = 1", at=2)[0] == "seed"


def test_completion_never_fails() -> None:
    @RELAXED
    @given(st.text(max_size=30), st.integers(0, 40))
    def check(text: str, at: int) -> None:
        start, _ = complete(text, at, Keys(metrics=["loss"]))
        assert start <= max(at, len(text))

    check()


def test_ten_thousand_runs_are_searched_through_indexes(world: Cast) -> None:
    with superuser() as connection:
        connection.execute("set session_replication_role = replica")
        connection.execute(
            "insert into run (id, tenant_id, project_id, name, state, external, spec, tags, seed, created_at, "
            "started_at, ended_at, arm, notes, recipe, recipe_version, spec_hash, intent, epoch, attempt, "
            "max_attempts, priority, req_kind, req_devices, time_limit_s, node_name, reason_code, reason, "
            "waiting_code, waiting, idempotency_hash) "
            "select 'r_' || lpad(i::text, 10, '0'), p.tenant_id, p.id, 'run ' || i, 'SUCCEEDED', true, "
            "jsonb_build_object('lr', (i %% 7)::text, 'opt', 'adam'), '{}', i %% 5, now() - i * interval '1 minute', "
            "now(), "
            "now(), '', '', '', '', '', 'run', 1, 1, 1, 0, '', 0, 0, '', '', '', '', '', '' "
            "from generate_series(1, 10000) i, project p where p.tenant_id = %s",
            [world.ada.tenant],
        )
        connection.execute(
            "insert into series (tenant_id, run_id, key, n, last, last_step, low, high, non_finite) "
            "select tenant_id, id, key, 1, seed, 1, seed, seed, 0 from run, unnest(array['loss', 'acc', 'f1']) key "
            "where name like 'run %'",
        )
        connection.execute("analyze run")
        connection.execute("analyze series")
    with in_tenant(world.ada):
        rows = satisfying(runs(), "metrics.loss < 2 and params.lr = '3'").filter(name__startswith="run ")
        assert rows.count() == len([i for i in range(1, 10_001) if i % 5 < 2 and i % 7 == 3])
        value, _ = ordering("metrics.loss")
        plan = str(rows.annotate(value=value).order_by("-value")[:100].explain())
    assert "one_series_per_key" in plan or "Hash" in plan


def test_the_tree_of_a_query_has_the_usual_precedence() -> None:
    first, second = (parse(text) for text in ("seed=1 or seed=2 and seed=3", "(seed=1 or seed=2) and seed=3"))
    assert type(first).__name__ == "Either"
    assert type(second).__name__ == "Every"
