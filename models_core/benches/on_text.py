"""What the distillation recipes on text do alike: the text, its batches, the teacher on it, what models write.

Importing this loads no array library.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from models_core.data.corpora import StdlibSource
from models_core.data.tokenizer_choice import Bytes
from models_core.errors import SpecInvalid
from models_core.events import Artifact, Context, Event, Metric
from models_core.nn.configs import DecoderConfig
from models_core.nn.start import Fresh

if TYPE_CHECKING:
    import numpy as np

    from models_core.data.stdlib_text import Text
    from models_core.data.tokenizers import Tokenizer
    from models_core.distill.cache.manifest import Description
    from models_core.distill.options import Sparse
    from models_core.training.beginning import Beginning
    from models_core.training.pacing import Pacing

# Held out; and what models write at the end.
VALIDATION_BYTES = 40_000
SAMPLE_PROMPT, PROSE_PROMPT = "def ", "The "
SAMPLE_TOKENS = 200
SAMPLE_TEMPERATURE = 0.8
# The larger decoder teaches the smaller one; under SALT the smaller one begins.
LARGER = DecoderConfig(
    n_layers=2, d_model=64, n_heads=4, n_kv_heads=2, head_dim=24, d_ff=192, window=24, global_every=2
)
SMALLER = DecoderConfig(
    n_layers=2, d_model=32, n_heads=2, n_kv_heads=1, head_dim=24, d_ff=96, window=24, global_every=2
)


# What decides the weights of a teacher that is trained, beside framework, seed and text: a cache of its targets names
# these, and the choices of text and tokenizer where they are not the usual ones.
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
USUAL = {"data": StdlibSource(), "tokenizer": Bytes()}


class OnText:
    """A text as rows of tokens, and what a run does with it whatever its student.

    spec: with the fields that `benches.fields` names for text. text: rows to train on and rows held out. order: of the
    batches of teacher and student. vocabulary: ids that exist. Raises SpecInvalid, DataInvalid, and what
    `training.beginning.begin` raises where the teacher is there already.
    """

    def __init__(self, bench: Any, spec: Any, *, seed: int, validation_bytes: int) -> None:
        from models_core.data.order import BatchOrder
        from models_core.training.beginning import choose_tokenizer

        self._bench, self._spec, self._seed = bench, spec, seed
        self.tokenizer = choose_tokenizer(spec.tokenizer, None, [])
        self.vocabulary = self.tokenizer.vocabulary
        self.text = _rows(spec, self.tokenizer, seed=seed, validation_bytes=validation_bytes)
        if len(self.text.train) < spec.batch_size:
            raise SpecInvalid(
                f"The text gives {len(self.text.train)} sequences of {spec.length} tokens, fewer than a batch.",
                fields={"batch_size": f"The text gives only {len(self.text.train)} sequences."},
            )
        self.order = BatchOrder(seed, len(self.text.train), spec.batch_size)

    def rows(self, index: int) -> np.ndarray:
        """The batch of update `index`, (batch, length + 1) tokens."""
        chosen: np.ndarray = self.text.train[self.order.at(index)]
        return chosen

    @cached_property
    def beginning(self) -> Beginning:
        """The teacher's sizes, rows and, where it is there already, weights."""
        from models_core.training.beginning import begin

        spec = self._spec
        found = begin(spec.teacher_start, None, spec.teacher, self.tokenizer, field="teacher_start")
        padding = 0 if found.arrays is not None else getattr(spec, "teacher_padding", 0)
        return replace(found, rows=found.rows + padding)

    @property
    def teacher_steps(self) -> int:
        """Updates of the teacher in this run: none where it is there already."""
        return self._spec.teacher_steps if isinstance(self._spec.teacher_start, Fresh) else 0

    def learnt_teacher(self, ctx: Context, pacing: Pacing, **watched: Any) -> Generator[Event, None, Any]:
        """The teacher: trained in the phase of this name, see `training.teachers.teacher_phase`, or loaded.

        Returns None after a stop.
        """
        from models_core.training import phases

        spec, given = self._spec, self.beginning
        if given.arrays is not None:
            model = self._bench.loaded(given.config, given.rows, given.arrays)
            if ctx.resume is None:
                found = self._bench.evaluation(given.config, self.text.validation)(model)
                yield Metric(0, {"teacher/eval_nll": found["eval/nll"]})
            return model
        phase, state = self._bench.teacher_phase(
            given.config,
            spec.optimizer,
            rows=given.rows,
            steps=spec.teacher_steps,
            warmup_steps=spec.warmup_steps,
            train=self.text.train,
            validation=self.text.validation,
            order=self.order,
            **watched,
        )
        return (yield from phases.learnt(phase, ctx, pacing, state, self._bench.restored))

    def targets_description(self, framework: str, targets: Sparse, *, temperature: float, steps: int) -> Description:
        """What a cache of the teacher's targets for this run's batches says of itself.

        A teacher of the other framework is another one, by rounding, and so are its draws.
        """
        from models_core.distill.targets import describe
        from models_core.training.teachers import training_identity, weights_identity

        spec, arrays = self._spec, self.beginning.arrays
        facts = spec.model_dump(mode="json", include=set(TEACHER_FIELDS))
        if arrays is not None:
            facts = {"weights": weights_identity(arrays)}
        facts |= {
            name: getattr(spec, name).model_dump(mode="json")
            for name, usual in USUAL.items()
            if getattr(spec, name) != usual
        }
        facts |= {} if framework == "jax" else {"framework": framework}
        return describe(
            targets,
            teacher=training_identity(**facts, seed=self._seed, text=self.text.fingerprint),
            tokenizer="bytes" if isinstance(spec.tokenizer, Bytes) else self.tokenizer.hash,
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
        import numpy as np

        prompt = SAMPLE_PROMPT if isinstance(self._spec.data, StdlibSource) else PROSE_PROMPT
        ids = np.concatenate([[self.tokenizer.bos], self.tokenizer.encode(prompt)]).astype(np.int32)
        made = self._bench.write(model, config, ids, count=max(tokens, len(ids)), temperature=SAMPLE_TEMPERATURE)
        content = self.tokenizer.decode(made[made < self.vocabulary]).encode(errors="replace")
        yield Artifact(name, content, "text/plain; charset=utf-8")


def _rows(spec: Any, tokenizer: Tokenizer, *, seed: int, validation_bytes: int) -> Text:
    """Rows of `length` + 1 tokens, each starting at the last token of the one before."""
    import numpy as np

    from models_core.data import corpora, packing, stdlib_text, text_split, tokenizers

    if all(getattr(spec, name) == usual for name, usual in USUAL.items()):
        return stdlib_text.load(length=spec.length, train_bytes=spec.train_bytes, validation_bytes=validation_bytes)
    split = text_split.split(
        corpora.documents(spec.data, seed=seed), train_bytes=spec.train_bytes, validation_bytes=validation_bytes
    )
    train, held_out = (
        packing.pack_stream(tokenizers.encode_documents(tokenizer, part), spec.length)
        for part in (split.train, split.validation)
    )
    if not len(held_out):
        raise SpecInvalid(
            f"The held-out text is shorter than {spec.length} tokens.", fields={"length": "Longer than held-out text."}
        )
    rows, held_rows = (np.concatenate([part.inputs, part.targets[:, -1:]], axis=1) for part in (train, held_out))
    return stdlib_text.Text(rows, held_rows, split.fingerprint)
