"""How long a client takes from being asked to its report arriving, in seconds of simulated time.

The half-normal model is that of FedBuff's simulations; per-client and per-domain paces follow the wording of the
straggler literature, their parameters are choices of this project, not published values. A draw depends on (seed,
client, participation) alone: every algorithm meets the same delays, in whatever order it asks.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from models_core.errors import SpecInvalid
from models_core.spec import Spec, field, refuse

if TYPE_CHECKING:
    import numpy as np

Draw = Callable[[int, int], float]
# Keep the random streams of one seed apart.
_SPEED_STREAM, _DELAY_STREAM = 1, 2


class Constant(Spec):
    """Every client takes the same time: no stragglers, the control."""

    kind: Literal["constant"] = field("constant", title="Latency", help="The same for all.", section="Latency")
    time_s: float = field(
        1.0, title="Time", help="Of every report.", unit="s", gt=0, le=1e9, format="seconds", section="Latency"
    )


class HalfNormal(Spec, title="Half-normal"):
    """least + |Normal(0, sigma)|, fresh for each participation and independent of the data."""

    kind: Literal["half_normal"] = field(
        "half_normal", title="Latency", help="Absolute value of a normal, independent of the data.", section="Latency"
    )
    least_s: float = field(
        0.0,
        title="Least",
        help="Added to every draw.",
        unit="s",
        ge=0,
        le=1e9,
        format="seconds",
        section="Latency",
        advanced=True,
    )
    sigma_s: float = field(
        1.0, title="Spread", help="Of the normal.", unit="s", gt=0, le=1e9, format="seconds", section="Latency"
    )


class Gaussian(Spec):
    """Normal(mean_s, sd_s), never below a thousandth of the mean, fresh for each participation."""

    kind: Literal["gaussian"] = field("gaussian", title="Latency", help="A normal around a mean.", section="Latency")
    mean_s: float = field(
        1.0,
        title="Mean",
        help="Of a report, or of an example.",
        unit="s",
        gt=0,
        le=1e9,
        format="seconds",
        section="Latency",
    )
    sd_s: float = field(0.2, title="Spread", help="Standard deviation.", unit="s", ge=0, le=1e9, section="Latency")
    per_example: bool = field(
        False, title="Per example", help="Multiply by the client's number of examples.", section="Latency"
    )


class Uniform(Spec):
    """Uniform between two times, fresh for each participation."""

    kind: Literal["uniform"] = field("uniform", title="Latency", help="Uniform between two times.", section="Latency")
    least_s: float = field(0.5, title="Least", help="Shortest time.", unit="s", ge=0, le=1e9, section="Latency")
    most_s: float = field(1.5, title="Most", help="Longest time.", unit="s", gt=0, le=1e9, section="Latency")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.most_s < self.least_s:
            refuse("most_s", "The longest time is below the shortest.")
        return self


class Exponential(Spec):
    """Exponential with a given mean, fresh for each participation."""

    kind: Literal["exponential"] = field("exponential", title="Latency", help="Memoryless.", section="Latency")
    mean_s: float = field(
        1.0, title="Mean", help="Of a report.", unit="s", gt=0, le=1e9, format="seconds", section="Latency"
    )


class Listed(Spec):
    """A list of measured times, dealt to the participations of all clients at random."""

    kind: Literal["listed"] = field("listed", title="Latency", help="Times that were measured.", section="Latency")
    times_s: tuple[Annotated[float, Field(gt=0, le=1e9)], ...] = field(
        (1.0, 2.0, 4.0),
        title="Times",
        help="Drawn with equal chances.",
        min_length=1,
        max_length=10_000,
        section="Latency",
    )


class Trace(Spec):
    """Times from a file: CSV with the columns client, seconds, or JSON [{"client": ..., "seconds": [...]}].

    A client's times are used in the order of the file, over and over. Client c uses trace c modulo their number.
    """

    kind: Literal["trace"] = field("trace", title="Latency", help="Recorded times from a file.", section="Latency")
    file: str = field(
        "trace.csv",
        title="File",
        help="A .csv or .json in the node's data folder (STILLROOM_DATA_DIR).",
        min_length=1,
        max_length=200,
        section="Latency",
    )


class LogNormal(Spec, title="Log-normal"):
    """median exp(sigma Normal(0, 1)), fresh for each participation: a heavy tail."""

    kind: Literal["lognormal"] = field(
        "lognormal", title="Latency", help="A heavy tail, independent of the data.", section="Latency"
    )
    median_s: float = field(
        1.0, title="Median", help="Of a report.", unit="s", gt=0, le=1e9, format="seconds", section="Latency"
    )
    sigma: float = field(1.0, title="Spread", help="Of the logarithm.", ge=0, le=5, section="Latency")


class PerClientPerExample(Spec, title="Per client and example"):
    """examples x pace of the client x noise + overhead: clients with much data, and slow clients, report late.

    pace = median_s_per_example exp(pace_sigma Normal), drawn once a client, times slow_factor for a share slow_share of
    the clients; noise = exp(noise_sigma Normal) and overhead = overhead_s exp(noise_sigma Normal), fresh for each
    participation.
    """

    kind: Literal["per_client_per_example"] = field(
        "per_client_per_example",
        title="Latency",
        help="Grows with a client's data and its own pace: slow clients are always slow.",
        section="Latency",
    )
    median_s_per_example: float = field(
        0.02,
        title="Pace",
        help="Median over ordinary clients, an example.",
        unit="s",
        gt=0,
        le=1e9,
        format="seconds",
        section="Latency",
    )
    pace_sigma: float = field(
        0.5, title="Spread of pace", help="Of its logarithm between clients.", ge=0, le=5, section="Latency"
    )
    slow_share: float = field(
        0.2, title="Slow clients", help="Share of clients that are slow.", ge=0, le=1, section="Latency"
    )
    slow_factor: float = field(
        10.0, title="Slowness", help="How much slower these are.", ge=1, le=10_000, section="Latency"
    )
    noise_sigma: float = field(
        0.1,
        title="Noise",
        help="Of the logarithm, between participations.",
        ge=0,
        le=5,
        section="Latency",
        advanced=True,
    )
    overhead_s: float = field(
        0.2,
        title="Overhead",
        help="Median time of download and upload.",
        unit="s",
        ge=0,
        le=1e9,
        format="seconds",
        section="Latency",
        advanced=True,
    )


class PerDomainPerExample(Spec, title="Per domain and example"):
    """As per client and example, but the slow clients are a domain: those whose data no other client has.

    pace = median_s_per_example exp(pace_sigma Normal), drawn once a client, times slow_factor for the clients of the
    slow domain; noise and overhead as there.
    """

    kind: Literal["per_domain_per_example"] = field(
        "per_domain_per_example",
        title="Latency",
        help="The slow clients are a domain: what they know, only they know.",
        section="Latency",
    )
    median_s_per_example: float = field(
        0.02,
        title="Pace",
        help="Median over ordinary clients, an example.",
        unit="s",
        gt=0,
        le=1e9,
        format="seconds",
        section="Latency",
    )
    pace_sigma: float = field(
        0.5, title="Spread of pace", help="Of its logarithm between clients.", ge=0, le=5, section="Latency"
    )
    slow_factor: float = field(
        10.0, title="Slowness", help="How much slower the slow domain is.", ge=1, le=10_000, section="Latency"
    )
    noise_sigma: float = field(
        0.1,
        title="Noise",
        help="Of the logarithm, between participations.",
        ge=0,
        le=5,
        section="Latency",
        advanced=True,
    )
    overhead_s: float = field(
        0.2,
        title="Overhead",
        help="Median time of download and upload.",
        unit="s",
        ge=0,
        le=1e9,
        format="seconds",
        section="Latency",
        advanced=True,
    )


LatencyOptions = (
    Constant
    | HalfNormal
    | Gaussian
    | Uniform
    | Exponential
    | LogNormal
    | Listed
    | Trace
    | PerClientPerExample
    | PerDomainPerExample
)
AnyLatency = Annotated[LatencyOptions, Field(discriminator="kind")]


def build(
    options: LatencyOptions,
    *,
    sizes: Sequence[int],
    seed: int,
    slow: Collection[int] = (),
    traces: Sequence[Sequence[float]] = (),
) -> Draw:
    """`draw(client, participation) -> seconds`. sizes: examples of each client; participation counts from 0.

    slow: the clients of the slow domain, for PerDomainPerExample. traces: times of each trace, for Trace.
    """
    match options:
        case Gaussian(mean_s=mean_s, sd_s=sd_s, per_example=per_example):
            factors = sizes if per_example else [1] * len(sizes)

            def gaussian(client: int, participation: int) -> float:
                drawn_s = _delays(seed, client, participation).normal(mean_s, sd_s)
                return float(factors[client] * max(drawn_s, mean_s / 1000))

            return gaussian
        case Uniform(least_s=least_s, most_s=most_s):
            return lambda client, participation: float(_delays(seed, client, participation).uniform(least_s, most_s))
        case Exponential(mean_s=mean_s):
            return lambda client, participation: float(_delays(seed, client, participation).exponential(mean_s))
        case Listed(times_s=times_s):
            return lambda client, participation: times_s[
                int(_delays(seed, client, participation).integers(len(times_s)))
            ]
        case Trace():
            if not traces:
                raise ValueError("a trace needs its times")
            return lambda client, participation: traces[client % len(traces)][
                participation % len(traces[client % len(traces)])
            ]
        case Constant(time_s=time_s):
            return lambda client, participation: time_s
        case HalfNormal(sigma_s=sigma_s, least_s=least_s):
            return lambda client, participation: (
                least_s + abs(_delays(seed, client, participation).normal(0.0, sigma_s))
            )
        case LogNormal(median_s=median_s, sigma=sigma):
            return lambda client, participation: median_s * _factor(_delays(seed, client, participation), sigma)
        case PerClientPerExample():
            chosen = slow_clients(options, clients=len(sizes), seed=seed)
            return _per_example(options, sizes=sizes, seed=seed, slow=chosen)
        case PerDomainPerExample():
            return _per_example(options, sizes=sizes, seed=seed, slow=frozenset(slow))


def slow_clients(options: PerClientPerExample, *, clients: int, seed: int) -> frozenset[int]:
    """Which clients are slow: a share, rounded, of one random order."""
    order = _stream(seed, _SPEED_STREAM, clients, 0).permutation(clients)
    return frozenset(order[: round(options.slow_share * clients)].tolist())


def read_trace(content: bytes, name: str) -> list[list[float]]:
    """The times of each client of a trace file, in the order of the file; raises SpecInvalid that names the line."""
    try:
        text = content.decode("utf-8")
        rows = _json_rows(text) if name.endswith(".json") else _csv_rows(text)
        found: dict[str, list[float]] = {}
        for place, client, seconds in rows:
            value = float(seconds)
            if not 0 < value < math.inf:
                raise ValueError(f"{place}: {seconds!r} is not a time above zero")
            found.setdefault(client, []).append(value)
    except (ValueError, TypeError, KeyError, csv.Error) as error:
        raise SpecInvalid(f"The trace {name} is malformed.", fields={"latency.file": f"{error}."}) from None
    if not found:
        raise SpecInvalid(f"The trace {name} is empty.", fields={"latency.file": "No times."})
    return list(found.values())


def _csv_rows(text: str) -> Iterator[tuple[str, str, str]]:
    reader = csv.DictReader(io.StringIO(text))
    if not {"client", "seconds"} <= set(reader.fieldnames or ()):
        raise ValueError("the first line must name the columns client and seconds")
    for row in reader:
        yield f"line {reader.line_num}", str(row["client"]), str(row["seconds"])


def _json_rows(text: str) -> Iterator[tuple[str, str, float]]:
    entries = json.loads(text)
    if not isinstance(entries, list):
        raise ValueError("a list of objects is expected")
    for number, entry in enumerate(entries):
        if not (isinstance(entry, dict) and {"client", "seconds"} <= entry.keys()):
            raise ValueError(f"entry {number}: an object with client and seconds is expected")
        times = entry["seconds"] if isinstance(entry["seconds"], list) else [entry["seconds"]]
        for time_s in times:
            if isinstance(time_s, bool) or not isinstance(time_s, int | float):
                raise ValueError(f"entry {number}: {time_s!r} is not a number")
            yield f"entry {number}", str(entry["client"]), time_s


def _per_example(
    options: PerClientPerExample | PerDomainPerExample, *, sizes: Sequence[int], seed: int, slow: frozenset[int]
) -> Draw:
    base_s = [
        size
        * options.median_s_per_example
        * _factor(_stream(seed, _SPEED_STREAM, client, 1), options.pace_sigma)
        * (options.slow_factor if client in slow else 1.0)
        for client, size in enumerate(sizes)
    ]

    def draw(client: int, participation: int) -> float:
        delays = _delays(seed, client, participation)
        training_s = base_s[client] * _factor(delays, options.noise_sigma)
        return training_s + options.overhead_s * _factor(delays, options.noise_sigma)

    return draw


def _factor(generator: np.random.Generator, sigma: float) -> float:
    return math.exp(sigma * generator.normal())


def _delays(seed: int, client: int, participation: int) -> np.random.Generator:
    return _stream(seed, _DELAY_STREAM, client, participation)


def _stream(seed: int, stream: int, major: int, minor: int) -> np.random.Generator:
    """A generator of its own for every (major, minor): Philox counts inside the two lower words of its counter."""
    import numpy as np

    return np.random.Generator(np.random.Philox(key=[seed, stream], counter=[0, 0, major, minor]))
