"""DP-FTRL: the server releases prefix sums of clipped changes with tree noise; no assumption about sampling.

Source: Kairouz et al., "Practical and private (deep) learning without sampling or shuffling", ICML 2021 (arXiv
2103.00039), algorithms 1 and B.

    w_t = w_0 + server_lr ( sum over s <= t of D_s + N_t ) ,  D = sum of clipped deltas / cohort
    N_t = sum of the noises of the binary tree's nodes that make up 1 .. t, each Normal(0, (noise clip / cohort)^2)

A client takes part at most once in an epoch (`sampling="epoch"`), and `restart` begins a new tree with every epoch.
Deviates: the plain tree of dyadic nodes, without Honaker's variance reduction or momentum; matrix-factorisation noise
is better than any tree.
Reduces to: FedAvg with equal weights at noise 0 and a huge clip.
Cost: the start of the tree, the sum, and log2(rounds) draws a parameter for a round.

>>> Options(cohort=10).sampling
'epoch'
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from models_core.federated import _rounds
from models_core.spec import field

if TYPE_CHECKING:
    from models_core.federated.simulation.rule import Rule, Sums
    from models_core.federated.simulation.schedule import Fleet, Schedule

_LEVELS = 20


class Options(_rounds.RoundOptions, title="DP-FTRL"):
    """Prefix sums under tree noise."""

    kind: Literal["dp_ftrl"] = field("dp_ftrl", title="Algorithm", help="Private prefix sums.", section="Algorithm")
    sampling: Literal["uniform", "weighted", "poisson", "epoch"] = field(
        "epoch", title="Sampling", help="The guarantee needs every client once an epoch.", section="Algorithm",
        advanced=True,
    )  # fmt: skip
    clip: float = field(
        1.0, title="Clip", help="Largest norm of a change.", gt=0, le=1e9, format="log", section="Privacy"
    )
    noise: float = field(
        1.0, title="Noise multiplier", help="Of a node, over the clip.", ge=0, le=1000, section="Privacy"
    )
    delta: float = field(
        1e-5, title="Delta", help="Of the guarantee; below one over the clients.", gt=0, lt=1, format="log",
        section="Privacy",
    )  # fmt: skip
    restart: int = field(
        0, title="Restart", help="Rounds of a tree; 0: one tree for the whole run.", unit="steps", ge=0,
        section="Privacy",
    )  # fmt: skip


def plan(options: Options, fleet: Fleet, *, steps: int, until_s: float = math.inf) -> Schedule:
    """Rounds whose weights are one over the cohort, whoever reports."""
    return _rounds.plan_rounds(options, fleet, steps=steps, until_s=until_s).reweighted(1 / options.cohort)


def build(options: Options) -> Rule:
    """The state is the start of the tree, the exact sum since, the place in the tree, and the last released noise."""
    import jax
    import jax.numpy as jnp

    from models_core.federated.simulation.rule import Rule

    scale = options.noise * options.clip / options.cohort

    def init(params: Any) -> Any:
        # Copies: the model and the start of the tree must not share a buffer.
        begin = jax.tree.map(jnp.array, params)
        return {"begin": begin, "sum": jax.tree.map(jnp.zeros_like, params), "count": jnp.zeros((), jnp.int32)}

    def apply(params: Any, state: Any, sums: Sums) -> tuple[Any, Any]:
        if options.restart:
            place = state["count"] % options.restart
            fresh = place == 0
            begin = jax.tree.map(lambda b, w: jnp.where(fresh, w, b), state["begin"], params)
            total = jax.tree.map(lambda s, d: jnp.where(fresh, jnp.zeros_like(s), s) + d, state["sum"], sums.change)
            tree = state["count"] // options.restart
        else:
            place, begin, tree = state["count"], state["begin"], jnp.zeros((), jnp.int32)
            total = jax.tree.map(jnp.add, state["sum"], sums.change)
        noise = tree_noise(sums.root, tree, place + 1, params) if options.noise else None
        moved = jax.tree.map(lambda b, s: b + options.server_lr * s, begin, total)
        if noise is not None:
            moved = jax.tree.map(lambda w, n: w + options.server_lr * scale * n, moved, noise)
        return moved, {"begin": begin, "sum": total, "count": state["count"] + 1}

    return Rule(init, apply, clip=options.clip)


def tree_noise(key: Any, tree: Any, count: Any, like: Any) -> Any:
    """The sum of unit noises of the dyadic nodes that make up 1 .. count; the same node has the same noise every time.

    Node (level, index) covers the steps index 2^level + 1 .. (index + 1) 2^level. count: at most 2^20 - 1.
    """
    import jax
    import jax.numpy as jnp

    leaves, structure = jax.tree.flatten(like)

    def level_noise(level: Any, total: Any) -> Any:
        # Bit `level` of count: a node that ends at count with the bits below cleared.
        index = (count >> level) - 1
        node_key = jax.random.fold_in(jax.random.fold_in(jax.random.fold_in(key, tree), level), index)

        def add(total: Any) -> Any:
            return [
                t + jax.random.normal(jax.random.fold_in(node_key, place), t.shape) for place, t in enumerate(total)
            ]

        return jax.lax.cond((count >> level) & 1 == 1, add, lambda total: total, total)

    summed = jax.lax.fori_loop(0, _LEVELS, level_noise, [jnp.zeros_like(leaf) for leaf in leaves])
    return jax.tree.unflatten(structure, summed)


def epsilon(options: Options, *, clients: int, rounds: int) -> float:
    """Epsilon after `rounds`: every epoch (or tree) is one Gaussian release, composed by RDP; infinite without noise.

    In a tree over T rounds a client takes part once an epoch and so in at most ceil(T / rounds an epoch) leaves; each
    touches floor(log2(T)) + 1 nodes. The bound adds the squared sensitivities of all its leaves as if they met in every
    shared node: sqrt(nodes) x leaves x clip at worst.
    """
    if options.noise == 0:
        return math.inf
    if rounds == 0:
        return 0.0
    import dp_accounting

    length = min(options.restart or rounds, rounds)
    trees = -(-rounds // length)
    leaves = -(-length // max(clients // options.clients_needed(), 1))
    nodes = length.bit_length()
    multiplier = options.noise / (leaves * math.sqrt(nodes))
    accountant = dp_accounting.rdp.RdpAccountant()
    accountant.compose(dp_accounting.GaussianDpEvent(multiplier), trees)
    return float(accountant.get_epsilon(options.delta))
