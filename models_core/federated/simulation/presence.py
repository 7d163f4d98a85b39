"""When clients can be reached, and whether they report at all; a pure function of (seed, client, time)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from models_core.spec import Spec, field

_WINDOW_STREAM, _LOSS_STREAM = 4, 5


class Always(Spec):
    """Every client can be asked at any time."""

    kind: Literal["always"] = field("always", title="Availability", help="At any time.", section="Availability")


class Windows(Spec):
    """Every client can be asked during one window of each period, at an hour of its own: devices that charge by night.

    The share of a client is drawn once, uniformly within share +- spread, and cut to [0.01, 1].
    """

    kind: Literal["windows"] = field(
        "windows", title="Availability", help="Once in every period, at an hour of its own.", section="Availability"
    )
    period_s: float = field(
        60.0, title="Period", help="A simulated day.", unit="s", gt=0, format="seconds", section="Availability"
    )
    share: float = field(
        0.3,
        title="Open share",
        help="Part of the period in which it can be asked.",
        gt=0,
        le=1,
        section="Availability",
    )
    spread: float = field(
        0.0, title="Spread", help="Of the share between clients.", ge=0, le=1, section="Availability", advanced=True
    )


AnyPresence = Annotated[Always | Windows, Field(discriminator="kind")]


@dataclass(frozen=True, slots=True)
class Presence:
    """What `Fleet` takes: available(client, now_s), and reachable_s(now_s), when anyone can be asked next."""

    available: Callable[[int, float], bool]
    reachable_s: Callable[[float], float]


def build(options: Always | Windows, *, clients: int, seed: int) -> Presence | None:
    """None when everyone is always there."""
    if isinstance(options, Always):
        return None
    import numpy as np

    generator = np.random.Generator(np.random.Philox(key=[seed, _WINDOW_STREAM]))
    opens = generator.uniform(size=clients) * options.period_s
    shares = options.share + options.spread * generator.uniform(-1, 1, size=clients)
    lengths = np.clip(shares, 0.01, 1.0) * options.period_s
    period_s = options.period_s

    def available(client: int, now_s: float) -> bool:
        return bool((now_s - opens[client]) % period_s < lengths[client])

    def reachable_s(now_s: float) -> float:
        since = (now_s - opens) % period_s
        waits = np.where(since < lengths, 0.0, period_s - since)
        # A hair later than the opening, which rounding could otherwise miss.
        return float(now_s + waits.min() + 1e-9 * period_s)

    return Presence(available, reachable_s)


def losses(share: float, *, seed: int) -> Callable[[int, int], bool] | None:
    """`lost(client, participation)`: each task by itself with chance `share`; None when nothing is lost."""
    if share == 0:
        return None
    import numpy as np

    def lost(client: int, participation: int) -> bool:
        stream = np.random.Philox(key=[seed, _LOSS_STREAM], counter=[0, 0, client, participation])
        return bool(np.random.Generator(stream).uniform() < share)

    return lost
