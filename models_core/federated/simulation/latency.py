"""How long a client takes from being asked to its report arriving, in seconds of simulated time.

A draw depends on (seed, client, participation) alone: every algorithm meets the same delays, in whatever order it asks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from models_core.spec import Spec, field

if TYPE_CHECKING:
    import numpy as np

Draw = Callable[[int, int], float]
# Keep the random streams of one seed apart.
_SPEED_STREAM, _DELAY_STREAM = 1, 2


class Constant(Spec):
    """Every client takes the same time: no stragglers, the control."""

    kind: Literal["constant"] = field("constant", title="Latency", help="The same for all.", section="Latency")
    time_s: float = field(
        1.0, title="Time", help="Of every report.", unit="s", gt=0, format="seconds", section="Latency"
    )


class HalfNormal(Spec, title="Half-normal"):
    """|Normal(0, sigma)|, fresh for each participation and independent of the data."""

    kind: Literal["half_normal"] = field(
        "half_normal", title="Latency", help="Absolute value of a normal, independent of the data.", section="Latency"
    )
    sigma_s: float = field(
        1.0, title="Spread", help="Of the normal.", unit="s", gt=0, format="seconds", section="Latency"
    )


class LogNormal(Spec, title="Log-normal"):
    """median exp(sigma Normal(0, 1)), fresh for each participation: a heavy tail."""

    kind: Literal["lognormal"] = field(
        "lognormal", title="Latency", help="A heavy tail, independent of the data.", section="Latency"
    )
    median_s: float = field(
        1.0, title="Median", help="Of a report.", unit="s", gt=0, format="seconds", section="Latency"
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
        format="seconds",
        section="Latency",
        advanced=True,
    )


AnyLatency = Annotated[Constant | HalfNormal | LogNormal | PerClientPerExample, Field(discriminator="kind")]


def build(options: Constant | HalfNormal | LogNormal | PerClientPerExample, *, sizes: Sequence[int], seed: int) -> Draw:
    """`draw(client, participation) -> seconds`. sizes: examples of each client; participation counts from 0."""
    match options:
        case Constant(time_s=time_s):
            return lambda client, participation: time_s
        case HalfNormal(sigma_s=sigma_s):
            return lambda client, participation: abs(_delays(seed, client, participation).normal(0.0, sigma_s))
        case LogNormal(median_s=median_s, sigma=sigma):
            return lambda client, participation: median_s * _factor(_delays(seed, client, participation), sigma)
        case PerClientPerExample():
            return _per_client_per_example(options, sizes=sizes, seed=seed)


def slow_clients(options: PerClientPerExample, *, clients: int, seed: int) -> frozenset[int]:
    """Which clients are slow: a share, rounded, of one random order."""
    order = _stream(seed, _SPEED_STREAM, clients, 0).permutation(clients)
    return frozenset(order[: round(options.slow_share * clients)].tolist())


def _per_client_per_example(options: PerClientPerExample, *, sizes: Sequence[int], seed: int) -> Draw:
    slow = slow_clients(options, clients=len(sizes), seed=seed)
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
