"""How examples are spread over clients. Two different recipes are both called "Dirichlet"; here they have two names.

Every function returns one sorted array of example indices a client, no example twice, a pure function of its arguments.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int, Int32

Partition = list[Int[np.ndarray, " _"]]
# After as many tries without a large enough smallest client, the wish cannot be met.
_TRIES = 1000


def iid(labels: Int32[np.ndarray, " examples"], clients: int, *, seed: int) -> Partition:
    """A uniform random split into parts whose sizes differ by at most one."""
    order = _generator(seed).permutation(len(labels))
    return [np.sort(part) for part in np.array_split(order, clients)]


def dirichlet_per_client(labels: Int32[np.ndarray, " examples"], clients: int, *, alpha: float, seed: int) -> Partition:
    """Each client draws class proportions from Dir(alpha p) and then its examples; all clients have the same size.

    p is the share of each class; alpha > 0 is multiplied by the number of classes, so that alpha = 1 is uniform on the
    simplex for balanced classes. A class that runs out is taken out of the proportions. Source: Hsu, Qi and Brown,
    "Measuring the effects of non-identical data distribution for federated visual classification", 2019.
    """
    generator = _generator(seed)
    pools = [list(generator.permutation(np.flatnonzero(labels == label))) for label in np.unique(labels)]
    prior = np.array([len(pool) for pool in pools]) / len(labels)
    size = len(labels) // clients
    parts = []
    for _ in range(clients):
        shares = generator.dirichlet(np.maximum(alpha * len(pools) * prior, 1e-9))
        taken: list[int] = []
        while len(taken) < size:
            open_shares = np.where([bool(pool) for pool in pools], np.maximum(shares, 1e-12), 0.0)
            label = generator.choice(len(pools), p=open_shares / open_shares.sum())
            taken.append(pools[label].pop())
        parts.append(np.sort(np.array(taken)))
    return parts


def dirichlet_per_class(
    labels: Int32[np.ndarray, " examples"], clients: int, *, alpha: float, seed: int, least: int = 1
) -> Partition:
    """Each class is split over the clients by shares from Dir(alpha); sizes become unequal, all examples are used.

    Drawn again until every client has `least` examples; raises ValueError when that does not happen. Source: Yurochkin
    et al., "Bayesian nonparametric federated learning of neural networks", ICML 2019.
    """
    generator = _generator(seed)
    for _ in range(_TRIES):
        parts: list[list[np.ndarray]] = [[] for _ in range(clients)]
        for label in np.unique(labels):
            members = generator.permutation(np.flatnonzero(labels == label))
            cuts = np.cumsum(generator.dirichlet(np.full(clients, alpha)))[:-1]
            for part, chunk in zip(parts, np.split(members, np.round(cuts * len(members)).astype(int)), strict=True):
                part.append(chunk)
        joined = [np.sort(np.concatenate(part)) for part in parts]
        if min(map(len, joined)) >= least:
            return joined
    raise ValueError(
        f"no split of {len(labels)} examples over {clients} clients with alpha {alpha} leaves each {least}"
    )


def shards(labels: Int32[np.ndarray, " examples"], clients: int, *, per_client: int, seed: int) -> Partition:
    """Examples sorted by label, cut into clients x per_client shards, `per_client` shards to each at random.

    Source: McMahan et al., "Communication-efficient learning of deep networks from decentralized data", AISTATS 2017.
    """
    generator = _generator(seed)
    by_label = generator.permutation(len(labels))
    by_label = by_label[np.argsort(labels[by_label], kind="stable")]
    pieces = np.array_split(by_label, clients * per_client)
    order = generator.permutation(len(pieces)).reshape(clients, per_client)
    return [np.sort(np.concatenate([pieces[index] for index in row])) for row in order]


def by_group(groups: Sequence[object], *, most: int | None = None, least: int = 1) -> tuple[Partition, list[object]]:
    """One client for each group (writer, author, speaker, book) with at least `least` examples, and the groups' names.

    Clients are in the order of their first example; the first `most` of them. Raises ValueError when none is left.
    """
    found: dict[object, list[int]] = {}
    for index, group in enumerate(groups):
        found.setdefault(group, []).append(index)
    kept = [(group, rows) for group, rows in found.items() if len(rows) >= least][:most]
    if not kept:
        raise ValueError(f"no group has {least} examples")
    return [np.array(rows) for _, rows in kept], [group for group, _ in kept]


def label_domains(
    labels: Int32[np.ndarray, " examples"], clients: int, *, slow: Sequence[int], alpha: float, seed: int
) -> tuple[Partition, list[int]]:
    """Two domains that share no label: examples with a label in `slow` go to the last clients, the rest to the others.

    Each domain has clients in proportion to its examples, at least one, and is split by `dirichlet_per_client`. Returns
    the parts and every client's domain, 1 where it is slow. Raises ValueError when a
    domain has no example or there is one client only.
    """
    is_slow = np.isin(labels, np.asarray(slow))
    if clients < 2 or not 0 < is_slow.sum() < len(labels):
        raise ValueError("both domains need clients and examples")
    slow_clients = int(np.clip(round(clients * is_slow.mean()), 1, clients - 1))
    parts: Partition = []
    for chosen, count, stream in ((~is_slow, clients - slow_clients, 0), (is_slow, slow_clients, 1)):
        rows = np.flatnonzero(chosen)
        split = dirichlet_per_client(labels[rows], count, alpha=alpha, seed=seed + stream)
        parts += [rows[part] for part in split]
    return parts, [0] * (clients - slow_clients) + [1] * slow_clients


def _generator(seed: int) -> np.random.Generator:
    return np.random.Generator(np.random.Philox(key=seed))
