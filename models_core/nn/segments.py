"""Interleaved input: text, images, sound and video of one sequence as typed segments, laid out for a decoder.

    rows = [[Text(question), Image(pixels), Text(more), Audio(samples), Video(frames, times_s)], ..]
    batch = lay_out(rows, config, vocabulary=V, layout=GEMMA3)

`nn.interleaved` and `nn.torch.interleaved` turn the batch into logits. A sequence is one list of segments in any order
and number; rows of unequal length are padded on the left, so that the last column is every row's end.
Source: Gemini (arXiv 2312.11805, section 2: interleaved text, images, sound, and video as a sequence of frames); Gemma
3 technical report (arXiv 2503.19786, section 2.1: tokens around an image).
Deviates: an image's tokens are a block of their own even next to another image, where transformers merges runs; the
tokens that the published layout puts between images make both alike. Sound is causal. A frame is a block.
Numpy alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models_core.errors import InputInvalid
from models_core.nn import sound
from models_core.nn.configs import InterleavedConfig, VisionConfig

# Kinds of a column.
PADDING, TEXT, IMAGE, FRAME, AUDIO = -1, 0, 1, 2, 3


@dataclass(frozen=True, slots=True)
class Text:
    """Token ids, at least one."""

    tokens: Sequence[int]


@dataclass(frozen=True, slots=True)
class Image:
    """Pixels (channels, height, width) of the tower's size, in -1 .. 1; see `nn.images.to_pixels`."""

    pixels: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Audio:
    """One channel at 16 kHz in -1 .. 1, at least 25 ms."""

    samples: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Video:
    """Frames (frames, channels, height, width) as those of an image, and the second of each, rising."""

    frames: NDArray[Any]
    times_s: Sequence[float]


Segment = Text | Image | Audio | Video


@dataclass(frozen=True, slots=True)
class Layout:
    """Tokens around the soft tokens of a segment. stamp: tokens before a frame, from its second."""

    image: tuple[Sequence[int], Sequence[int]] = ((), ())
    audio: tuple[Sequence[int], Sequence[int]] = ((), ())
    video: tuple[Sequence[int], Sequence[int]] = ((), ())
    stamp: Callable[[float], Sequence[int]] | None = None


# "\n\n", begin of image; end of image, "\n\n".
GEMMA3 = Layout(image=((108, 255_999), (256_000, 108)))


@dataclass(frozen=True, slots=True)
class Interleaved:
    """A batch, B rows of T columns.

    tokens: ids, 0 where there is none. kinds: PADDING, TEXT, IMAGE, FRAME or AUDIO. places: row of the column's soft
    token among all soft tokens, images' before frames' before clips', 0 where there is none. blocks: number of the
    image or frame, -1 elsewhere. positions: negative at padding. images, frames: pixels. mels, mel_lengths: clips,
    filled up to the longest. What the batch does not have is None.
    """

    tokens: NDArray[np.int32]
    kinds: NDArray[np.int8]
    places: NDArray[np.int32]
    blocks: NDArray[np.int32]
    positions: NDArray[np.int32]
    images: NDArray[np.float32] | None
    frames: NDArray[np.float32] | None
    mels: NDArray[np.float32] | None
    mel_lengths: NDArray[np.int32] | None

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What is there, by field name."""
        found = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: value for name, value in found.items() if value is not None}

    @property
    def padding(self) -> NDArray[np.int32]:
        """Columns at the left of each row that hold nothing."""
        return np.asarray((self.kinds == PADDING).sum(axis=1), np.int32)


@dataclass(slots=True)
class _Media:
    """Media of a batch in the order of their appearance."""

    images: list[NDArray[np.float32]] = field(default_factory=list)
    frames: list[NDArray[np.float32]] = field(default_factory=list)
    clips: list[NDArray[np.float32]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Columns of one kind next to each other: ids of text, or item number `index` of that kind."""

    kind: int
    tokens: Sequence[int] = ()
    index: int = 0


def lay_out(
    rows: Sequence[Sequence[Segment]], config: InterleavedConfig, *, vocabulary: int, layout: Layout = Layout()
) -> Interleaved:
    """The batch of `rows`; none may be empty.

    vocabulary: embedding rows of the decoder. Raises InputInvalid that names row and segment: ids out of range, a kind
    without its tower, pixels of another size or not finite, sound too short, times that do not rise, a row past the
    context.
    """
    if not rows or not all(rows):
        raise InputInvalid("There is nothing to lay out.", fields={"rows": "At least one, none empty."})
    media = _Media()
    pieces = [
        [
            piece
            for number, segment in enumerate(row)
            for piece in _pieces(segment, config, layout, media, f"rows.{index}.{number}")
        ]
        for index, row in enumerate(rows)
    ]
    sizes, starts = _soft_tokens(config, media)
    columns = [[_columns(piece, sizes, starts) for piece in row] for row in pieces]
    widths = [sum(len(part[0]) for part in row) for row in columns]
    context = config.decoder.context
    for index, width in enumerate(widths):
        if context is not None and width > context:
            reason = f"Takes {width} tokens, the model's context is {context}."
            raise InputInvalid("The sequence is longer than the model's context.", fields={f"rows.{index}": reason})
    shape = (len(rows), max(widths))
    tokens, kinds = np.zeros(shape, np.int32), np.full(shape, PADDING, np.int8)
    places, blocks = np.zeros(shape, np.int32), np.full(shape, -1, np.int32)
    for index, (row, width) in enumerate(zip(columns, widths, strict=True)):
        at, block = shape[1] - width, 0
        for ids, kind, soft in row:
            span = slice(at, at + len(ids))
            tokens[index, span], kinds[index, span], places[index, span] = ids, kind, soft
            if kind in (IMAGE, FRAME):
                blocks[index, span] = block
                block += 1
            at += len(ids)
    _check_ids(tokens, vocabulary)
    gaps = np.array([shape[1] - width for width in widths], np.int32)
    positions = np.arange(shape[1], dtype=np.int32)[None] - gaps[:, None]
    mels, lengths = _stacked_clips(media.clips)
    return Interleaved(
        tokens, kinds, places, blocks, positions, _stack(media.images), _stack(media.frames), mels, lengths
    )


def _pieces(segment: Segment, config: InterleavedConfig, layout: Layout, media: _Media, at: str) -> Iterator[_Piece]:
    match segment:
        case Text(tokens):
            if not len(tokens):
                raise _wrong(at, "Text without a token.")
            yield _Piece(TEXT, tokens)
        case Image(pixels):
            media.images.append(_pixels(pixels, config.vision, at))
            yield from _framed(layout.image, [_Piece(IMAGE, index=len(media.images) - 1)])
        case Audio(samples):
            if config.audio is None:
                raise _wrong(at, "The model has no audio tower.")
            try:
                media.clips.append(sound.log_mel(samples, config.audio.mel_bins))
            except InputInvalid as error:
                raise _wrong(at, error.fields["samples"]) from None
            yield from _framed(layout.audio, [_Piece(AUDIO, index=len(media.clips) - 1)])
        case Video(frames, times_s):
            seconds = np.asarray(times_s, np.float64)
            if len(frames) == 0 or len(seconds) != len(frames):
                raise _wrong(at, f"{len(frames)} frames and {len(seconds)} times; as many of each, at least one.")
            if not (np.isfinite(seconds).all() and (np.diff(seconds) > 0).all()):
                raise _wrong(at, "The times must rise.")
            inner: list[_Piece] = []
            for frame, second in zip(frames, seconds.tolist(), strict=True):
                media.frames.append(_pixels(frame, config.vision, at))
                stamp = layout.stamp(second) if layout.stamp else ()
                inner += [_Piece(TEXT, stamp), _Piece(FRAME, index=len(media.frames) - 1)]
            yield from _framed(layout.video, inner)
        case _:
            raise _wrong(at, f"Must be Text, Image, Audio or Video, is {type(segment).__name__}.")


def _framed(around: tuple[Sequence[int], Sequence[int]], inner: list[_Piece]) -> list[_Piece]:
    return [_Piece(TEXT, around[0]), *inner, _Piece(TEXT, around[1])]


def _pixels(pixels: NDArray[Any], config: VisionConfig | None, at: str) -> NDArray[np.float32]:
    if config is None:
        raise _wrong(at, "The model has no vision tower.")
    wanted = (config.channels, config.image_size, config.image_size)
    held = np.asarray(pixels)
    if held.shape != wanted or not np.issubdtype(held.dtype, np.floating):
        raise _wrong(at, f"Pixels must be floating-point {wanted}, are {held.dtype} {held.shape}.")
    if not np.isfinite(held).all():
        raise _wrong(at, "NaN or infinity is among the pixels.")
    return held.astype(np.float32)


def _soft_tokens(config: InterleavedConfig, media: _Media) -> tuple[dict[int, list[int]], dict[int, int]]:
    """How many soft tokens each item of a kind has, and the first row of each kind; clips are filled to the longest."""
    clips = [] if config.audio is None else [config.audio.tokens(len(clip)) for clip in media.clips]
    image = 0 if config.vision is None else config.vision.tokens_per_image
    sizes = {
        IMAGE: [image] * len(media.images),
        FRAME: [config.tokens_per_frame] * len(media.frames),
        AUDIO: clips,
    }
    frames = sum(sizes[IMAGE])
    return sizes, {IMAGE: 0, FRAME: frames, AUDIO: frames + sum(sizes[FRAME])}


def _columns(
    piece: _Piece, sizes: dict[int, list[int]], starts: dict[int, int]
) -> tuple[NDArray[Any], int, NDArray[Any]]:
    """Ids, kind and places of soft tokens of a piece."""
    if piece.kind == TEXT:
        ids = np.asarray(piece.tokens, np.int64)
        return ids, TEXT, np.zeros(len(ids), np.int32)
    own, stride = sizes[piece.kind][piece.index], max(sizes[piece.kind])
    first = starts[piece.kind] + piece.index * stride
    return np.zeros(own, np.int64), piece.kind, np.arange(first, first + own, dtype=np.int32)


def _check_ids(tokens: NDArray[Any], vocabulary: int) -> None:
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= vocabulary:
        reason = f"Ids must lie in 0 .. {vocabulary - 1}, found {low if low < 0 else high}."
        raise InputInvalid("A token id is outside the vocabulary.", fields={"tokens": reason})


def _stack(items: list[NDArray[np.float32]]) -> NDArray[np.float32] | None:
    return np.stack(items) if items else None


def _stacked_clips(
    clips: list[NDArray[np.float32]],
) -> tuple[NDArray[np.float32] | None, NDArray[np.int32] | None]:
    if not clips:
        return None, None
    lengths = np.array([len(clip) for clip in clips], np.int32)
    table = np.zeros((len(clips), int(lengths.max()), clips[0].shape[1]), np.float32)
    for row, clip in zip(table, clips, strict=True):
        row[: len(clip)] = clip
    return table, lengths


def _wrong(at: str, reason: str) -> InputInvalid:
    return InputInvalid(f"The segments cannot be laid out. {at}: {reason}", fields={at: reason})
