"""What the distillation recipes on text do alike: the text, its batches, the teacher on it, what models write.

Importing this loads no array library.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from models_core.events import Artifact
from models_core.nn.configs import DecoderConfig

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


# What decides the weights of a teacher beside framework, seed and text: a cache of its targets names these.
TEACHER_FIELDS = (
    "teacher",
    "teacher_padding",
    "teacher_steps",
    "warmup_steps",
    "optimizer",
    "batch_size",
    "length",
    "train_bytes",
)


class TextSpec(Protocol):
    """The fields that the recipes on text share."""

    length: int
    train_bytes: int
    batch_size: int
    teacher: DecoderConfig
    teacher_steps: int
    warmup_steps: int
    optimizer: Any

    def model_dump(self, *, mode: str, include: set[str]) -> dict[str, Any]:
        """As JSON."""
        ...


class OnText:
    """The standard library's source as rows of bytes, and what a run does with it whatever its student.

    text: rows to train on and rows held out. order: of the batches of teacher and student. vocabulary: ids that exist.
    """

    def __init__(self, bench: Any, spec: TextSpec, *, seed: int, validation_bytes: int) -> None:
        from models_core.data import stdlib_text
        from models_core.data.order import BatchOrder

        self._bench, self._spec, self._seed = bench, spec, seed
        self.text = stdlib_text.load(
            length=spec.length, train_bytes=spec.train_bytes, validation_bytes=validation_bytes
        )
        self.vocabulary = stdlib_text.VOCABULARY
        self.order = BatchOrder(seed, len(self.text.train), spec.batch_size)

    def rows(self, index: int) -> np.ndarray:
        """The batch of update `index`, (batch, length + 1) tokens."""
        chosen: np.ndarray = self.text.train[self.order.at(index)]
        return chosen

    def teacher_phase(self, *, padding: int = 0, **watched: Any) -> tuple[Any, Any]:
        """The teacher's training, see `training.teachers.teacher_phase`; padding: embedding rows that no token uses."""
        spec = self._spec
        phase, state = self._bench.teacher_phase(
            spec.teacher,
            spec.optimizer,
            rows=self.vocabulary + padding,
            steps=spec.teacher_steps,
            warmup_steps=spec.warmup_steps,
            train=self.text.train,
            validation=self.text.validation,
            order=self.order,
            **watched,
        )
        return phase, state

    def targets_description(self, framework: str, targets: Sparse, *, temperature: float, steps: int) -> Description:
        """What a cache of the teacher's targets for this run's batches says of itself.

        A teacher of the other framework is another one, by rounding, and so are its draws.
        """
        from models_core.distill.targets import describe
        from models_core.training.teachers import training_identity

        spec = self._spec
        facts = spec.model_dump(mode="json", include=set(TEACHER_FIELDS))
        facts |= {} if framework == "jax" else {"framework": framework}
        return describe(
            targets,
            teacher=training_identity(**facts, seed=self._seed, text=self.text.fingerprint),
            tokenizer="bytes",
            data=self.text.fingerprint,
            order=self.order,
            seed=self._seed,
            temperature=temperature,
            vocabulary=self.vocabulary,
            batch_size=spec.batch_size,
            length=spec.length,
            steps=steps,
        )

    def written(self, name: str, model: Any, config: DecoderConfig, tokens: int) -> Iterator[Artifact]:
        """What a model makes of a prompt, as the text file `name`; tokens: in all."""
        from models_core.data import stdlib_text

        prompt = stdlib_text.encode(SAMPLE_PROMPT.encode())[:-1]
        ids = self._bench.write(model, config, prompt, count=tokens, temperature=SAMPLE_TEMPERATURE)
        yield Artifact(name, stdlib_text.decode(ids).encode(), "text/plain; charset=utf-8")
