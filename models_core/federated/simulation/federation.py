"""A task spread over clients: examples, whose they are, which clients and test examples are of the slow domain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from models_core.data.partition import Partition


@dataclass(frozen=True, slots=True)
class Federation:
    """x, y: training examples. parts: the rows of each client. slow: each client's domain, 1 where slow.

    test_domain: the same of test examples. shape: of one example as the model wants it. classes: labels are 0 ..
    classes - 1. domains: whether the two domains differ in their data.
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

    @property
    def sizes(self) -> list[int]:
        """Examples of each client."""
        return [len(part) for part in self.parts]

    @property
    def slow_clients(self) -> list[int]:
        """The clients of the slow domain."""
        return np.flatnonzero(self.slow).tolist()

    def groups(self) -> tuple[np.ndarray, np.ndarray]:
        """The group (domain, label) of every test example, and every client's share of each, [clients, groups].

        A client's accuracy is what the test set says about its mix: the groups' accuracies weighted by its shares.
        """
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


def _is_high_school(name: str) -> bool:
    number = name[1:5]
    return number.isdigit() and 2100 <= int(number) <= 2599
