"""A decoder that predicts the next byte of real text: see `nn.decoder`. One example is a row of `length` bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from models_core.data.corpora import AnyCorpus, StdlibSource
from models_core.nn.configs import DecoderConfig
from models_core.spec import field
from models_core.training.workloads._options import WorkloadOptions, task_field

if TYPE_CHECKING:
    from models_core.training.workloads._problem import Problem

TINY = DecoderConfig(n_layers=2, d_model=48, n_heads=4, n_kv_heads=2, head_dim=12, d_ff=144, window=32, global_every=2)
VALIDATION_BYTES = 20_000


class Options(WorkloadOptions, title="Language model"):
    """Predict the next byte of a text."""

    task: Literal["language_model"] = task_field("language_model", "Predict the next byte of a text.")
    data: AnyCorpus = field(StdlibSource(), title="Text", help="What it learns from.", section="Task")
    length: int = field(64, title="Length", help="Of a row, one example.", unit="tokens", ge=8, le=8192, section="Task")
    train_bytes: int = field(
        400_000,
        title="Training text",
        help="How much of it is used.",
        unit="bytes",
        ge=1000,
        le=10**10,
        format="bytes",
        section="Task",
    )
    model: DecoderConfig = field(TINY, title="Model", help="Its sizes.", section="Model")


def build(options: Options) -> Problem:
    """The problem; loss in nats a token, the mean over the row. The text is the same whatever the run's seed."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from models_core.data import corpora, packing, text_split, tokenizers
    from models_core.errors import SpecInvalid
    from models_core.nn import decoder
    from models_core.training.workloads._problem import Problem

    text = text_split.split(
        corpora.documents(options.data), train_bytes=options.train_bytes, validation_bytes=VALIDATION_BYTES
    )
    tokenizer = tokenizers.ByteTokenizer()
    train, test = (
        packing.pack_stream(tokenizers.encode_documents(tokenizer, part), options.length)
        for part in (text.train, text.validation)
    )
    if not len(train) or not len(test):
        raise SpecInvalid(
            f"The text is shorter than a row of {options.length} tokens.",
            fields={"workload.length": "Longer than the text."},
        )

    def values(params: Any, examples: Any) -> dict[str, Any]:
        logits = decoder.apply(params, options.model, examples["inputs"]).astype(jnp.float32)
        log_q = jax.nn.log_softmax(logits)
        chosen = jnp.take_along_axis(log_q, examples["targets"][..., None], axis=-1)[..., 0]
        return {"loss": -jnp.mean(chosen, axis=-1)}

    rows = tokenizer.vocabulary
    return Problem(
        init=lambda key: decoder.init(key, options.model, rows),
        values=values,
        train={"inputs": np.asarray(train.inputs), "targets": np.asarray(train.targets)},
        test={"inputs": np.asarray(test.inputs), "targets": np.asarray(test.targets)},
        eval_batch=64,
        note=f"{options.model.parameter_count(rows):,} parameters; {len(train):,} rows of {text.fingerprint[:12]}.",
    )
