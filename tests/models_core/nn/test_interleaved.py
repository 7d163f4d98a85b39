"""Interleaved segments: what is laid out where, JAX against PyTorch, what a modality changes, and bad segments."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from transformers.audio_utils import mel_filter_bank, spectrogram

from models_core.errors import InputInvalid
from models_core.nn import audio, generation, interleaved, pretrained, segments, sound
from models_core.nn.configs import AudioConfig, DecoderConfig, InterleavedConfig, VisionConfig
from models_core.nn.prompts import chunk_bounds
from models_core.nn.segments import AUDIO, FRAME, IMAGE, PADDING, TEXT, Audio, Image, Layout, Text, Video
from models_core.nn.torch import generation as torch_generation
from models_core.nn.torch.interleaved import Interleaved as Twin

VOCABULARY = 40
CONFIG = InterleavedConfig(
    decoder=DecoderConfig(
        n_layers=2, d_model=16, n_heads=2, n_kv_heads=1, head_dim=8, d_ff=24, window=3, global_every=2, context=64
    ),
    vision=VisionConfig(image_size=16, patch_size=4, n_layers=1, width=8, n_heads=2, d_ff=8, tokens_per_image=4),
    audio=AudioConfig(mel_bins=10, n_layers=2, width=8, n_heads=2, d_ff=12, pool=2),
    tokens_per_frame=1,
)
LAYOUT = Layout(image=((7, 8), (9,)), audio=((10,), ()), video=((), (11,)), stamp=lambda second: (20, int(second)))
# Rounding of float32 in another order, of the largest entry.
CLOSE = 1e-5
DRAWS = np.random.default_rng(0)
PICTURES = DRAWS.uniform(-1, 1, (4, 3, 16, 16)).astype(np.float32)
# 0.1 s and 0.25 s: 8 and 23 frames, 2 and 6 steps of 40 ms, 1 and 3 tokens.
SHORT, LONG = (DRAWS.normal(size=size).astype(np.float32) / 9 for size in (1600, 4000))
ROWS = [
    [Text([1, 2]), Image(PICTURES[0]), Text([3]), Audio(LONG), Text([4])],
    [Audio(SHORT), Video(PICTURES[1:3], (0.0, 2.5)), Image(PICTURES[3]), Text([5, 6])],
]


@pytest.fixture(scope="module")
def params() -> Any:
    drawn = interleaved.init(jax.random.key(0), CONFIG, VOCABULARY)
    generator = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: leaf + generator.normal(size=leaf.shape).astype(np.float32) / 10, drawn)


def laid(rows: Any = ROWS, layout: Layout = LAYOUT) -> segments.Interleaved:
    return segments.lay_out(rows, CONFIG, vocabulary=VOCABULARY, layout=layout)


run = jax.jit(interleaved.apply, static_argnums=1)


def close(got: Any, wanted: Any) -> None:
    wanted = np.asarray(wanted)
    assert np.abs(np.asarray(got) - wanted).max() <= CLOSE * np.abs(wanted).max()


def test_columns_by_hand() -> None:
    batch = laid()
    first = [1, 2, 7, 8, 0, 0, 0, 0, 9, 3, 10, 0, 0, 0, 4]
    second = [10, 0, 20, 0, 0, 20, 2, 0, 11, 7, 8, 0, 0, 0, 0, 9, 5, 6]
    assert batch.tokens.tolist() == [[0] * 3 + first, second]
    kinds = batch.kinds.tolist()
    t, i, f, a, p = TEXT, IMAGE, FRAME, AUDIO, PADDING
    assert kinds[0] == [p, p, p, t, t, t, t, i, i, i, i, t, t, t, a, a, a, t]
    assert kinds[1] == [t, a, t, t, f, t, t, f, t, t, t, i, i, i, i, t, t, t]
    assert batch.blocks[1].tolist() == [-1] * 4 + [0, -1, -1, 1, -1, -1, -1, 2, 2, 2, 2, -1, -1, -1]
    # Images 0-7, frames 8-9, clips of three places each from 10 on.
    assert batch.places[0, 7:11].tolist() == [0, 1, 2, 3]
    assert batch.places[0, 14:17].tolist() == [10, 11, 12]
    assert batch.places[1, [1, 4, 7, 11]].tolist() == [13, 8, 9, 4]
    assert batch.positions[:, 0].tolist() == [-3, 0]
    assert batch.padding.tolist() == [3, 0]


def test_jax_and_pytorch_agree_in_logits_and_gradients(params: Any) -> None:
    batch = laid().arrays()
    weight = DRAWS.normal(size=(*batch["tokens"].shape, VOCABULARY)).astype(np.float32)
    weight[batch["kinds"] == PADDING] = 0

    def total(params: Any) -> Any:
        logits = interleaved.apply(params, CONFIG, batch)
        return jnp.sum(logits * weight), logits

    (_, logits), gradients = jax.jit(jax.value_and_grad(total, has_aux=True))(params)
    model = Twin(CONFIG, VOCABULARY).load_tree(params)
    twin = model(batch)
    seen = batch["kinds"] != PADDING
    close(twin.detach().numpy()[seen], np.asarray(logits)[seen])
    (twin * torch.from_numpy(weight)).sum().backward()
    found = model.tree(gradients=True)
    assert jax.tree.structure(found) == jax.tree.structure(gradients)
    largest = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(gradients))
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(gradients), strict=True):
        assert np.abs(one - np.asarray(other)).max() <= CLOSE * largest
    jax.tree.map(np.testing.assert_array_equal, model.tree(), jax.tree.map(np.asarray, params))


def test_a_row_does_not_depend_on_its_batch(params: Any) -> None:
    together = np.asarray(run(params, CONFIG, laid().arrays()))
    for index, row in enumerate(ROWS):
        alone = np.asarray(run(params, CONFIG, laid([row]).arrays()))[0]
        close(together[index, -len(alone) :], alone)


@pytest.mark.parametrize("number", [1, 3])
def test_a_segment_changes_what_follows_and_nothing_before(params: Any, number: int) -> None:
    row = ROWS[0]
    other = [Image(PICTURES[3]) if number == 1 else Audio(LONG[::-1].copy())]
    changed = [*row[:number], *other, *row[number + 1 :]]
    one, two = (np.asarray(run(params, CONFIG, laid([r]).arrays()))[0] for r in (row, changed))
    # The first column of the segment's soft tokens.
    first = 4 if number == 1 else 11
    np.testing.assert_array_equal(one[:first], two[:first])
    assert np.abs(one[first:] - two[first:]).max(axis=-1).min() > 1e-4


def test_swapping_two_images_changes_the_answer_and_equal_ones_do_not(params: Any) -> None:
    row = [Image(PICTURES[0]), Text([3]), Image(PICTURES[1]), Text([4])]
    swapped = [row[2], row[1], row[0], row[3]]
    one, two = (np.asarray(run(params, CONFIG, laid([r]).arrays()))[0, -1] for r in (row, swapped))
    assert np.abs(one - two).max() > 1e-3


def test_generation_continues_segments_in_both_frameworks(params: Any) -> None:
    batch = laid()
    x = jax.jit(interleaved.embed, static_argnums=1)(params, CONFIG, batch.arrays())
    asked = {"padding": batch.padding, "blocks": batch.blocks, "max_new": 4}
    whole = generation.generate_from(params["text"], CONFIG.decoder, x, **asked)
    assert [len(row) for row in whole] == [4, 4]
    assert generation.generate_from(params["text"], CONFIG.decoder, x, chunk=3, **asked) == whole
    model = Twin(CONFIG, VOCABULARY).load_tree(params)
    with torch.no_grad():
        twin = model.embed(batch.arrays())
    assert torch_generation.generate_from(model.text, twin, chunk=5, **asked) == whole
    # The last column's logits choose the first token.
    logits = np.asarray(run(params, CONFIG, batch.arrays()))
    assert [row[0] for row in whole] == logits[:, -1].argmax(-1).tolist()


def test_spectrogram_is_the_peers() -> None:
    filters = mel_filter_bank(257, 10, 0.0, 8000.0, 16_000, norm=None, mel_scale="htk")
    window = np.hanning(401)[:-1]
    power = spectrogram(
        LONG.astype(np.float64), window, 400, 160, 512, power=2.0, center=False, mel_filters=filters, mel_floor=1e-5
    )
    got = sound.log_mel(LONG, 10)
    assert got.shape == (sound.frames_of(4000), 10)
    np.testing.assert_allclose(got, (np.log(power.T) + 5) / 5, atol=1e-5)
    assert sound.log_mel(np.zeros(400, np.float32), 10).max() == pytest.approx((np.log(1e-5) + 5) / 5)


def test_a_tone_is_loudest_in_its_band() -> None:
    for hertz, band in ((300, 1), (4000, 7)):
        tone = np.sin(2 * np.pi * hertz * np.arange(1600) / 16_000)
        assert sound.log_mel(tone, 10).mean(axis=0).argmax() == band


@pytest.mark.parametrize("frames", [1, 2, 7, 8, 9, 23])
def test_tokens_of_a_clip_are_counted_as_they_are_made(frames: int) -> None:
    config = CONFIG.audio
    params = audio.init(jax.random.key(0), config, 16)
    out = audio.apply(params, config, jnp.zeros((1, frames, 10)), jnp.array([frames]))
    assert out.shape == (1, config.tokens(frames), 16)


@pytest.mark.parametrize(
    ("row", "config", "at", "complaint"),
    [
        ([Text([])], CONFIG, "rows.0.0", "without a token"),
        ([Text([40])], CONFIG, "tokens", "found 40"),
        ([Text([-1])], CONFIG, "tokens", "found -1"),
        ([Text([1]), Image(PICTURES[0, :, :8])], CONFIG, "rows.0.1", r"\(3, 16, 16\)"),
        ([Image(PICTURES[0] * np.nan)], CONFIG, "rows.0.0", "NaN"),
        ([Image(PICTURES[0])], CONFIG.model_copy(update={"vision": None}), "rows.0.0", "no vision tower"),
        ([Audio(LONG)], CONFIG.model_copy(update={"audio": None}), "rows.0.0", "no audio tower"),
        ([Audio(LONG[:399])], CONFIG, "rows.0.0", "at least 400"),
        ([Audio(LONG * np.inf)], CONFIG, "rows.0.0", "NaN or infinity"),
        ([Audio(np.ones((2, 900)))], CONFIG, "rows.0.0", "one channel"),
        ([Video(PICTURES[:2], (0.0,))], CONFIG, "rows.0.0", "2 frames and 1 times"),
        ([Video(PICTURES[:2], (1.0, 1.0))], CONFIG, "rows.0.0", "rise"),
        ([Text([1] * 65)], CONFIG, "rows.0", "context is 64"),
        ([], CONFIG, "rows", "none empty"),
        ([(1, 2)], CONFIG, "rows.0.0", "is tuple"),
    ],
)
def test_bad_segments_are_named(row: Any, config: InterleavedConfig, at: str, complaint: str) -> None:
    with pytest.raises(InputInvalid) as refused:
        segments.lay_out([row], config, vocabulary=VOCABULARY)
    assert list(refused.value.fields) == [at]
    with pytest.raises(InputInvalid, match=complaint):
        raise InputInvalid(refused.value.fields[at])


def test_a_published_form_with_images_is_an_interleaved_model(images_peer: Any) -> None:
    found = pretrained.load(images_peer.folder)
    config = InterleavedConfig(decoder=found.what.config, vision=found.what.vision, tokens_per_frame=1)
    first, second = images_peer.tokens.tolist()
    one, two, three = (Image(pixels) for pixels in images_peer.pixels)
    rows = [
        [Text(first[:3]), one, Text(first[7:11]), two, Text(first[15:])],
        [Text(second[:6]), three, Text(second[10:])],
    ]
    batch = segments.lay_out(rows, config, vocabulary=61).arrays()
    close(run(found.params, config, batch), images_peer.logits)
    twin = Twin(config, 61).load_tree(found.params)
    with torch.no_grad():
        close(twin(batch), images_peer.logits)


def test_chunks_never_end_inside_an_image() -> None:
    blocks = np.array([[-1, 0, 0, 0, -1, -1, 1, 1], [-1, -1, -1, 0, 0, -1, -1, -1]])
    assert chunk_bounds(blocks, 2) == [0, 1, 5, 6, 8]
    assert chunk_bounds(blocks, 6) == [0, 6, 8]
    assert chunk_bounds(blocks, 100) == [0, 8]


def test_text_alone_is_the_decoder(params: Any) -> None:
    from models_core.nn import decoder

    batch = laid([[Text([1, 2, 3])]])
    got = run(params, CONFIG, batch.arrays())
    close(got, decoder.apply(params["text"], CONFIG.decoder, jnp.array([[1, 2, 3]])))
