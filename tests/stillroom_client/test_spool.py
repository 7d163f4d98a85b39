"""The spool loses nothing that it took, whatever byte a crash stops it at."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillroom_client.spool import Spool, SpoolFull

SMALL = {"limit_bytes": 10_000, "segment_bytes": 200}
payloads = st.lists(st.binary(max_size=120), min_size=1, max_size=25)


def contents(spool: Spool) -> dict[int, bytes]:
    return {seq: spool.read(seq) for seq in range(spool.first_seq, spool.last_seq + 1)}


@given(written=payloads, data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_crash_at_any_byte_leaves_a_prefix_and_numbering_goes_on(written: list[bytes], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spool = Spool(folder, **SMALL)
        for payload in written:
            spool.append(payload)
        spool.close()
        newest = max(folder.iterdir())
        earlier = sum(1 for seq in range(1, len(written) + 1) if seq < int(newest.stem))
        cut_at = data.draw(st.integers(0, newest.stat().st_size))
        os.truncate(newest, cut_at)

        recovered = Spool(folder, **SMALL)
        kept = contents(recovered)
        assert list(kept) == list(range(1, len(kept) + 1))
        assert list(kept.values()) == written[: len(kept)]
        assert len(kept) >= earlier
        assert recovered.append(b"after") == len(kept) + 1
        recovered.close()

        again = Spool(folder, **SMALL)
        assert list(contents(again).values()) == [*written[: len(kept)], b"after"]
        again.close()


@given(written=payloads, data=st.data())
@settings(max_examples=150, deadline=None)
def test_a_flipped_bit_ends_the_prefix_there(written: list[bytes], data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spool = Spool(folder, **SMALL)
        for payload in written:
            spool.append(payload)
        spool.close()
        hurt = data.draw(st.sampled_from(sorted(folder.iterdir())))
        content = bytearray(hurt.read_bytes())
        position = data.draw(st.integers(0, len(content) - 1))
        content[position] ^= 1 << data.draw(st.integers(0, 7))
        hurt.write_bytes(content)

        recovered = Spool(folder, **SMALL)
        kept = list(contents(recovered).values())
        assert kept == written[: len(kept)]
        assert len(kept) < len(written)
        assert len(kept) >= int(hurt.stem) - 1
        recovered.close()


@given(written=payloads, ack_every=st.integers(1, 5))
@settings(max_examples=100, deadline=None)
def test_no_record_is_dropped_before_it_is_acknowledged(written: list[bytes], ack_every: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        spool = Spool(Path(name), limit_bytes=900, segment_bytes=150)
        acked = 0
        stored: list[bytes] = []
        for number, payload in enumerate(written):
            try:
                assert spool.append(payload) == len(stored) + 1
                stored.append(payload)
            except SpoolFull:
                assert spool.first_seq <= acked + 1
            if number % ack_every == 0 and stored:
                acked = len(stored)
                spool.ack(acked)
            assert spool.first_seq <= acked + 1
            assert all(spool.read(seq) == stored[seq - 1] for seq in range(acked + 1, len(stored) + 1))
        spool.close()


def test_acknowledged_records_are_kept_while_there_is_room(tmp_path: Path) -> None:
    spool = Spool(tmp_path, **SMALL)
    for number in range(5):
        spool.append(bytes([number]))
    spool.ack(5)
    assert list(contents(spool)) == [1, 2, 3, 4, 5]
    assert spool.fill == 0.0
    spool.close()


def test_a_full_spool_refuses_and_takes_again_after_an_ack(tmp_path: Path) -> None:
    spool = Spool(tmp_path, limit_bytes=1_000, segment_bytes=100)
    while True:
        try:
            spool.append(b"x" * 90)
        except SpoolFull:
            break
    last = spool.last_seq
    assert spool.fill > 0.9
    spool.ack(last - 1)
    assert spool.append(b"y" * 90) == last + 1
    with pytest.raises(KeyError):
        spool.read(1)
    spool.close()


def test_a_disk_without_room_leaves_the_spool_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, **SMALL)
    spool.append(b"one")
    whole = os.pwrite

    def short(descriptor: int, block: bytes, offset: int) -> int:
        if len(block) > 4:
            return whole(descriptor, bytes(block[:4]), offset)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "pwrite", short)
        with pytest.raises(SpoolFull, match="No space"):
            spool.append(b"two")
    assert spool.append(b"two again") == 2
    assert contents(spool) == {1: b"one", 2: b"two again"}
    spool.close()


def test_destroy_leaves_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.append(b"x")
    spool.destroy()
    assert list(tmp_path.iterdir()) == []
