"""A task spread over clients: examples, whose they are, which clients and test examples are of the slow domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from models_core.data.partition import Partition
from models_core.errors import SpecInvalid


@dataclass(frozen=True, slots=True)
class Federation:
    """x, y: training examples. parts: the rows of each client. slow: each client's domain, 1 where slow.

    test_domain: the same of test examples. shape: of one example as the model wants it. classes: labels are 0 ..
    classes - 1. domains: whether the two domains differ in their data. test_owner: whose each test example is, where
    every client has its own. unknown: a target that counts neither as loss nor as a hit (a word outside the
    vocabulary). Text has y [examples, time].
    """

    x: np.ndarray
    y: np.ndarray
    parts: Partition
    slow: np.ndarray
    test_x: np.ndarray
    test_y: np.ndarray
    test_domain: np.ndarray
    shape: tuple[int, ...]
    classes: int
    domains: bool
    test_owner: np.ndarray | None = None
    unknown: int | None = None

    @property
    def sizes(self) -> list[int]:
        """Examples of each client."""
        return [len(part) for part in self.parts]

    @property
    def slow_clients(self) -> list[int]:
        """The clients of the slow domain."""
        return np.flatnonzero(self.slow).tolist()

    def groups(self) -> tuple[np.ndarray, np.ndarray | None]:
        """The group (domain, label) of every test example, and every client's share of each, [clients, groups].

        A client's accuracy is what the test set says about its mix: the groups' accuracies weighted by its shares.
        Where every client has test examples of its own, these are its group, and there are no shares (None).
        """
        if self.test_owner is not None:
            return self.test_owner, None
        group = self.test_domain * self.classes + self.test_y
        mixes = np.zeros((len(self.parts), 2 * self.classes))
        for client, part in enumerate(self.parts):
            offset = self.slow[client] * self.classes if self.domains_differ_in_tests() else 0
            counts = np.bincount(self.y[part], minlength=self.classes) / len(part)
            mixes[client, offset : offset + self.classes] = counts
        return group, mixes

    def domains_differ_in_tests(self) -> bool:
        """Whether there are test examples of both domains under the same labels."""
        slow_labels = set(self.test_y[self.test_domain == 1].tolist())
        return self.domains and bool(slow_labels)


def of_images(images: Any, parts: Partition, slow: np.ndarray | None = None, slow_labels: Any = ()) -> Federation:
    """Images with one test set; with `slow_labels` these labels are a domain of their own."""
    domain = np.isin(images.test_y, np.asarray(slow_labels, np.int32)).astype(np.int32)
    return Federation(
        x=images.train_x,
        y=images.train_y,
        parts=parts,
        slow=np.zeros(len(parts), np.int32) if slow is None else slow.astype(np.int32),
        test_x=images.test_x,
        test_y=images.test_y,
        test_domain=domain,
        shape=(images.side, images.side, images.channels),
        classes=images.classes,
        domains=len(slow_labels) > 0,
    )


def of_writers(written: Any, side: int, classes: int) -> Federation:
    """Synthetic writers."""
    return Federation(
        x=written.x,
        y=written.y,
        parts=written.clients,
        slow=np.array(written.slow, np.int32),
        test_x=written.test_x,
        test_y=written.test_y,
        test_domain=written.test_domain,
        shape=(side, side, 1),
        classes=classes,
        domains=any(written.slow),
    )


def of_files(train: Any, test: Any, high_school: bool) -> Federation:
    """Federated EMNIST: a client a writer, ink as 1; high-school writers (f2100 .. f2599) are the slow domain."""
    slow = np.array([high_school and _is_high_school(name) for name in train.names], np.int32)
    test_slow = np.zeros(len(test.y), np.int32)
    for name, rows in zip(test.names, test.clients, strict=True):
        test_slow[rows] = high_school and _is_high_school(name)
    return Federation(
        x=1 - train.x,
        y=train.y,
        parts=train.clients,
        slow=slow,
        test_x=1 - test.x,
        test_y=test.y,
        test_domain=test_slow,
        shape=(28, 28, 1),
        classes=train.classes,
        domains=bool(slow.any()),
    )


def of_owners(owned: Any, shape: tuple[int, ...], classes: int, *, slow: Sequence[str] = ()) -> Federation:
    """A client an owner; owned: names, x, y, owner and test_x, test_y, test_owner. slow: beginnings of slow names."""
    domain = _slow_names(owned.names, slow)
    order = np.argsort(owned.owner, kind="stable")
    cuts = np.cumsum(np.bincount(owned.owner, minlength=len(owned.names)))[:-1]
    return Federation(
        x=owned.x,
        y=owned.y,
        parts=np.split(order, cuts),
        slow=domain,
        test_x=owned.test_x,
        test_y=owned.test_y,
        test_domain=domain[owned.test_owner],
        shape=shape,
        classes=classes,
        domains=bool(domain.any()),
        test_owner=owned.test_owner,
    )


def of_cifar100(train: Any, test: Any, *, slow: Sequence[str] = ()) -> Federation:
    """Federated CIFAR-100, whose test clients are others: a client is judged by its mix of classes."""
    return Federation(
        x=train.x,
        y=train.y,
        parts=train.clients,
        slow=_slow_names(train.names, slow),
        test_x=test.x,
        test_y=test.y,
        test_domain=np.zeros(len(test.y), np.int32),
        shape=(32, 32, 3),
        classes=100,
        domains=False,
    )


def without(federation: Federation, unknown: int | None) -> Federation:
    """The same federation, in which the target `unknown` does not count."""
    return replace(federation, unknown=unknown)


def _slow_names(names: Sequence[str], beginnings: Sequence[str]) -> np.ndarray:
    slow = np.array([name.startswith(tuple(beginnings)) for name in names], np.int32)
    if beginnings and not 0 < slow.sum() < len(names):
        told = f"Of {len(names)} owners {slow.sum()} have such names: some must, and some must not."
        raise SpecInvalid("There are no two domains.", fields={"partition.slow_owners": told})
    return slow


def _is_high_school(name: str) -> bool:
    number = name[1:5]
    return number.isdigit() and 2100 <= int(number) <= 2599
