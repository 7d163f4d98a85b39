"""What a run prints, made safe to show."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workers.sandbox.console import BURST_LINES, LINES_PER_S, MAX_MESSAGE_CHARS, MAX_PENDING_BYTES, Console, clean


def lines(console: Console, *chunks: bytes, now: float = 0.0) -> list[str]:
    return [text for chunk in chunks for text in console.feed(chunk, now)]


def test_lines_are_joined_across_chunks() -> None:
    console = Console(0.0)
    assert lines(console, b"one\ntw", b"o\nthr") == ["one", "two"]
    assert list(console.rest()) == ["thr"]


def test_characters_cut_between_chunks_survive() -> None:
    encoded = "Kräne\n".encode()
    assert lines(Console(0.0), encoded[:3], encoded[3:]) == ["Kräne"]


def test_a_progress_bar_leaves_its_last_state() -> None:
    assert lines(Console(0.0), b"\r 10%\r 50%\r100%\n", b"done\r\n") == ["100%", "done"]


def test_escape_sequences_and_control_characters_go() -> None:
    text = "\x1b[1;31mred\x1b[0m \x1b]0;title\x07plain\x00\x08\x7f\x9b tab\tend"
    assert clean(text) == "red plain tab\tend"


@given(st.text())
def test_nothing_that_moves_a_cursor_or_cannot_be_encoded_remains(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode()
    assert not any(ord(character) < 32 and character not in "\t\n" for character in cleaned)
    assert "\x7f" not in cleaned


@given(st.binary(), st.binary())
def test_any_bytes_give_text(first: bytes, second: bytes) -> None:
    console = Console(0.0)
    for text in [*lines(console, first, second), *console.rest()]:
        assert text.strip()


def test_a_long_line_is_cut_and_says_how_much() -> None:
    (text,) = lines(Console(0.0), b"x" * (MAX_MESSAGE_CHARS + 5) + b"\n")
    assert text.endswith("(5 more characters)")


def test_a_line_without_end_does_not_grow_for_ever() -> None:
    console = Console(0.0)
    texts = lines(console, *[b"y" * 10_000] * 100)
    assert len(texts) >= 100 * 10_000 // MAX_PENDING_BYTES - 1


def test_too_many_lines_are_counted_and_left_out() -> None:
    console = Console(0.0)
    shown = lines(console, b"x\n" * 10_000)
    assert len(shown) == BURST_LINES
    assert len(lines(console, b"x\n" * 500)) == 0
    assert console.limit.take_refused() == 10_000 - BURST_LINES + 500
    assert console.limit.take_refused() == 0
    assert len(lines(console, b"x\n" * 10_000, now=1.0)) == LINES_PER_S
