"""Pictures and their captions as sequences, the loss of the captions, and what the model says of test images."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from models_core.data import image_sets
from models_core.data.tokenizers import BOS, EOS, PAD, ByteTokenizer
from models_core.nn import decoder, generation, interleaved
from models_core.nn.configs import InterleavedConfig, VisionConfig
from models_core.nn.loss import next_token_sum
from models_core.nn.segments import TEXT, Image, Segment, Text, lay_out
from models_core.nn.sizes import sizes_of
from models_core.recipes.image_captions.spec import GRIDS, Spec, captions

Params = Any
Batch = dict[str, Any]
_SHOWN, _JUDGED_AT_ONCE = 20, 250


class Captioning:
    """The images of a spec, laid out for its decoder. config: of that decoder. longest: tokens of a caption."""

    def __init__(self, spec: Spec) -> None:
        images, self._tokenizer = image_sets.load(spec.data), ByteTokenizer()
        patch, soft_tokens = GRIDS[images.side]
        self.config = InterleavedConfig(
            decoder=sizes_of(spec.model),
            vision=VisionConfig(
                image_size=images.side,
                patch_size=patch,
                channels=images.channels,
                n_layers=spec.tower_layers,
                width=spec.tower_width,
                n_heads=4,
                d_ff=4 * spec.tower_width,
                tokens_per_image=soft_tokens,
            ),
            tokens_per_frame=1,
        )
        self.vocabulary = self._tokenizer.vocabulary
        texts = [[*self._tokenizer.encode(caption).tolist(), EOS] for caption in captions(spec.data)]
        self.longest = max(map(len, texts))
        # Each caption takes as many columns as the longest, so that all sequences are alike and one compilation serves.
        self._texts = [text + [PAD] * (self.longest - len(text)) for text in texts]
        self._said = captions(spec.data)
        self._pictures, self._columns = spec.pictures, soft_tokens + self.longest

        def towards(pixels: np.ndarray) -> np.ndarray:
            """(images, height, width, channels) in 0 .. 1 as the tower wants them."""
            return np.ascontiguousarray(
                pixels.reshape(-1, *images.shape).transpose(0, 3, 1, 2) * 2 - 1, dtype=np.float32
            )

        self._train, self._train_labels = towards(images.train_x), images.train_y
        self._test, self._test_labels = towards(images.test_x[: spec.test_images]), images.test_y[: spec.test_images]

    @property
    def training_images(self) -> int:
        """How many there are."""
        return len(self._train)

    def training_batch(self, rows: Int[np.ndarray, " images"]) -> Batch:
        """Sequences of these training images and their captions; as many as fill whole sequences."""
        return self._laid(self._train[rows], self._train_labels[rows])

    def loss(self, params: Params, batch: Batch) -> tuple[Float[Array, ""], dict[str, Array]]:
        """Mean over the captions' tokens, in nats."""
        x, wanted, counts = self._scored(params, batch)
        return self._total(params, x, wanted, counts) / jnp.sum(counts), {}

    def evaluate(self, params: Params) -> dict[str, float]:
        """The share of test images whose whole caption is the most probable, and the captions' loss."""
        size, a_row = len(self._test), self._pictures
        at_once = min(_JUDGED_AT_ONCE, size) // a_row * a_row or a_row
        right, total, count = 0, 0.0, 0.0
        for begin in range(0, size, at_once):
            # A last batch is filled up from the first images, which then count once only.
            rows = np.arange(begin, begin + at_once)
            fits = rows < size
            rows = rows % size
            found, nll, tokens = self._judged(params, self._laid(self._test[rows], self._test_labels[rows]))
            right += int((np.asarray(found).reshape(-1) & fits).sum())
            total, count = total + float(nll), count + float(tokens)
        return {"eval/caption_accuracy": right / size, "eval/nll": total / count}

    def written(self, params: Params) -> list[dict[str, str]]:
        """What it writes behind the first test images, each alone, token by token."""
        asked: list[list[Segment]] = [[Text([BOS]), Image(picture)] for picture in self._test[:_SHOWN]]
        prompt = lay_out(asked, self.config, vocabulary=self.vocabulary)
        made = generation.generate_from(
            params["text"],
            self.config.decoder,
            interleaved.embed(params, self.config, prompt.arrays()),
            padding=prompt.padding,
            blocks=prompt.blocks,
            max_new=self.longest,
            stop_tokens=(EOS,),
        )
        texts = [self._tokenizer.decode(np.asarray(tokens, np.int32)) for tokens in made]
        return [
            {"image": self._said[label], "written": text} for label, text in zip(self._test_labels, texts, strict=False)
        ]

    def _laid(self, pixels: np.ndarray, labels: np.ndarray) -> Batch:
        pairs = [
            (Image(picture), Text(self._texts[label])) for picture, label in zip(pixels, labels.tolist(), strict=True)
        ]
        rows = [
            [Text([BOS]), *(part for pair in pairs[at : at + self._pictures] for part in pair)]
            for at in range(0, len(pairs), self._pictures)
        ]
        return lay_out(rows, self.config, vocabulary=self.vocabulary).arrays()

    def _scored(self, params: Params, batch: Batch) -> tuple[Array, Array, Array]:
        """The last block's output where a caption's token comes next: what it is, and whether it counts."""
        x = interleaved.embed(params, self.config, batch)
        run = decoder.run(params["text"], self.config.decoder, x, batch["positions"], batch["blocks"])
        wanted = batch["tokens"][:, 1:]
        counts = (batch["kinds"][:, 1:] == TEXT) & (wanted != PAD)
        return run.x[:, :-1], wanted, counts.astype(jnp.float32)

    def _total(self, params: Params, x: Array, wanted: Array, counts: Array) -> Array:
        cap = self.config.decoder.logit_soft_cap
        total: Array = next_token_sum(x, params["text"]["embedding"], wanted, counts, logit_soft_cap=cap)
        return total

    @cached_property
    def _judged(self) -> Any:
        """By picture, whether all its caption is the most probable; sum of losses; number of tokens."""

        @jax.jit
        def judged(params: Params, batch: Batch) -> tuple[Array, Array, Array]:
            x, wanted, counts = self._scored(params, batch)
            likely = jnp.argmax(decoder.unembed(params["text"], x, self.config.decoder.logit_soft_cap), axis=-1)
            wrong = (likely != wanted) & (counts > 0)
            by_picture = wrong.reshape(-1, self._pictures, self._columns).sum(axis=-1)
            return by_picture == 0, self._total(params, x, wanted, counts), jnp.sum(counts)

        return judged
