"""When a run must be ended because nobody knows whether it still holds its devices."""

from __future__ import annotations

import pytest

from workers.lease import MARGIN_S, Lease


def test_it_is_lost_a_margin_before_the_platform_gives_the_run_away() -> None:
    lease = Lease(60.0, sent_at=100.0)
    assert not lease.is_lost(100.0 + 60.0 - MARGIN_S)
    assert lease.is_lost(100.1 + 60.0 - MARGIN_S)


def test_a_heartbeat_counts_from_when_it_was_sent() -> None:
    lease = Lease(60.0, sent_at=100.0)
    lease.renew(130.0)
    assert not lease.is_lost(130.0 + 45.0)
    assert lease.is_lost(130.1 + 45.0)


def test_a_late_answer_never_shortens_it() -> None:
    lease = Lease(60.0, sent_at=100.0)
    lease.renew(130.0)
    lease.renew(110.0)
    assert not lease.is_lost(175.0)


@pytest.mark.parametrize("lease_s", [4.0, 10.0, 20.0, 60.0, 600.0])
def test_any_lease_leaves_time_to_work_and_time_to_kill(lease_s: float) -> None:
    lease = Lease(lease_s, sent_at=0.0)
    assert not lease.is_lost(lease_s / 2)
    assert lease.is_lost(lease_s * 0.99)
