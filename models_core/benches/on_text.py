"""What the distillation recipes on text do alike: the text, its batches, the teacher on it, what models write.

Importing this loads no array library.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from models_core.events import Artifact
from models_core.nn.configs import DecoderConfig
from models_core.optim._options import OptimizerOptions

if TYPE_CHECKING:
    import numpy as np

    from models_core.distill.cache.manifest import Description
    from models_core.distill.options import Sparse

# Held out; and what models write at the end.
VALIDATION_BYTES = 40_000
SAMPLE_PROMPT = "def "
SAMPLE_TOKENS = 200
SAMPLE_TEMPERATURE = 0.8
# The larger decoder teaches the smaller one; under SALT the smaller one begins.
LARGER = DecoderConfig(
    n_layers=2, d_model=64, n_heads=4, n_kv_heads=2, head_dim=24, d_ff=192, window=24, global_every=2
)
SMALLER = DecoderConfig(
    n_layers=2, d_model=32, n_heads=2, n_kv_heads=1, head_dim=24, d_ff=96, window=24, global_every=2
)


class OnText:
    """The standard library's source as rows of bytes, and what a run does with it whatever its student.

    text: rows to train on and rows held out. order: of the batches of teacher and student. vocabulary: ids that exist.
    """

    def __init__(
        self,
        bench: Any,
        *,
        seed: int,
        length: int,
        train_bytes: int,
        validation_bytes: int,
        batch_size: int,
    ) -> None:
        from models_core.data import stdlib_text
        from models_core.data.order import BatchOrder

        self._bench, self._seed, self._batch_size, self._length = bench, seed, batch_size, length
        self.text = stdlib_text.load(length=length, train_bytes=train_bytes, validation_bytes=validation_bytes)
        self.vocabulary = stdlib_text.VOCABULARY
        self.order = BatchOrder(seed, len(self.text.train), batch_size)

    def rows(self, index: int) -> np.ndarray:
        """The batch of update `index`, (batch, length + 1) tokens."""
        chosen: np.ndarray = self.text.train[self.order.at(index)]
        return chosen

    def teacher_phase(
        self,
        config: DecoderConfig,
        optimizer: OptimizerOptions,
        *,
        steps: int,
        warmup_steps: int,
        padding: int = 0,
        **watched: Any,
    ) -> tuple[Any, Any]:
        """The teacher's training, see `training.teachers.teacher_phase`; padding: embedding rows that no token uses."""
        phase, state = self._bench.teacher_phase(
            config,
            optimizer,
            rows=self.vocabulary + padding,
            steps=steps,
            warmup_steps=warmup_steps,
            train=self.text.train,
            validation=self.text.validation,
            order=self.order,
            **watched,
        )
        return phase, state

    def targets_description(
        self, framework: str, teacher: dict[str, Any], targets: Sparse, *, temperature: float, steps: int
    ) -> Description:
        """What a cache of the teacher's targets for this run's batches says of itself.

        teacher: all that decides its weights beside framework, seed and text. A teacher of the other framework is
        another one, by rounding, and so are its draws.
        """
        from models_core.distill.targets import describe
        from models_core.training.teachers import training_identity

        facts = teacher | ({} if framework == "jax" else {"framework": framework})
        return describe(
            targets,
            teacher=training_identity(**facts, seed=self._seed, text=self.text.fingerprint),
            tokenizer="bytes",
            data=self.text.fingerprint,
            order=self.order,
            seed=self._seed,
            temperature=temperature,
            vocabulary=self.vocabulary,
            batch_size=self._batch_size,
            length=self._length,
            steps=steps,
        )

    def written(self, name: str, model: Any, config: DecoderConfig, tokens: int) -> Iterator[Artifact]:
        """What a model makes of a prompt, as the text file `name`; tokens: in all."""
        from models_core.data import stdlib_text

        prompt = stdlib_text.encode(SAMPLE_PROMPT.encode())[:-1]
        ids = self._bench.write(model, config, prompt, count=tokens, temperature=SAMPLE_TEMPERATURE)
        yield Artifact(name, stdlib_text.decode(ids).encode(), "text/plain; charset=utf-8")
