"""DP-FedAvg: user-level differential privacy by clipping every client's change and adding noise to the sum.

Source: McMahan et al., "Learning differentially private recurrent language models", ICLR 2018 (arXiv 1710.06963);
adaptive clipping: Andrew et al., "Differentially private learning with adaptive clipping", NeurIPS 2021, algorithm 1.

    sum = sum_i delta_i min(1, C / ||delta_i||) + Normal(0, (z C)^2) ;  change = sum / cohort
    adaptive:  C *= exp(-rate (noisy share within C - quantile))

Weights are equal and the denominator is fixed: weighted means or a random denominator void the guarantee. Cohorts are
Poisson samples, which is what the accountant assumes; epsilon is that of dp_accounting's RDP accountant, add-or-remove
neighbours. With adaptive clipping the noise on the change is raised to (z^-2 - (2 s)^-2)^-1/2, s the noise on the
count, so that both together cost as much as z alone.
Reduces to: FedAvg with equal weights at a huge clip and z = 0 (no guarantee then).

>>> round(epsilon(noise=1.0, chance=0.01, rounds=100, delta=1e-5), 3) < 2
True
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Literal, Self

from pydantic import model_validator

from models_core.spec import Spec, field, refuse

if TYPE_CHECKING:
    from models_core.federated.simulation.uplink import Adaptive


class NoPrivacy(Spec):
    """Changes are added as they are."""

    kind: Literal["none"] = field("none", title="Privacy", help="None.", section="Privacy")


class Options(Spec, title="User-level privacy"):
    """Clipping and Gaussian noise."""

    kind: Literal["dp_fedavg"] = field(
        "dp_fedavg", title="Privacy", help="Clip every client, add noise to the sum.", section="Privacy"
    )
    clip: float = field(
        1.0, title="Clip", help="Largest norm of a change; the start with adaptive clipping.", gt=0, le=1e9,
        format="log", section="Privacy",
    )  # fmt: skip
    noise: float = field(
        1.0, title="Noise multiplier", help="Standard deviation over the clip.", ge=0, le=1000, section="Privacy"
    )
    delta: float = field(
        1e-5, title="Delta", help="Of the guarantee; below one over the clients.", gt=0, lt=1, format="log",
        section="Privacy",
    )  # fmt: skip
    adaptive: bool = field(False, title="Adaptive clip", help="The clip follows a quantile.", section="Privacy")
    quantile: float = field(
        0.5, title="Quantile", help="Share of clients that stay unclipped.", gt=0, lt=1, section="Privacy",
        advanced=True,
    )  # fmt: skip
    rate: float = field(0.2, title="Clip rate", help="Of the clip.", gt=0, le=10, section="Privacy", advanced=True)
    count_noise: float = field(
        1.0, title="Count noise", help="On the number of unclipped clients.", ge=0, le=1e6, section="Privacy",
        advanced=True,
    )  # fmt: skip

    @model_validator(mode="after")
    def _affordable(self) -> Self:
        if self.adaptive and self.noise > 0 and 2 * self.count_noise <= self.noise:
            refuse("count_noise", "The count alone would cost more than the whole: raise it above half the noise.")
        return self

    @property
    def noise_on_change(self) -> float:
        """The multiplier on the sum of changes, larger when the count is told as well."""
        if not (self.adaptive and self.noise > 0):
            return self.noise
        return float((self.noise**-2 - (2 * self.count_noise) ** -2) ** -0.5)


def adaptive(options: Options) -> Adaptive | None:
    """What the engine does with the clip."""
    from models_core.federated.simulation.uplink import Adaptive

    return Adaptive(options.quantile, options.rate, options.count_noise) if options.adaptive else None


@lru_cache(maxsize=4096)
def epsilon(*, noise: float, chance: float, rounds: int, delta: float) -> float:
    """Epsilon after `rounds` of Poisson sampling with `chance`; infinite without noise."""
    if noise == 0:
        return float("inf")
    if rounds == 0:
        return 0.0
    import dp_accounting

    event = dp_accounting.PoissonSampledDpEvent(min(chance, 1.0), dp_accounting.GaussianDpEvent(noise))
    accountant = dp_accounting.rdp.RdpAccountant()
    accountant.compose(event, rounds)
    return float(accountant.get_epsilon(delta))
