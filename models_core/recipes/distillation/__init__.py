"""Distillation of a small decoder from a larger one.

Trains a decoder (the teacher) on a text, the Python standard library's source byte by byte unless another is chosen, or
takes one that is there already; then a smaller one (the student) on the same text, towards the teacher's distribution
(whole, or in a few entries a token, live or from a cache), on text that one of them writes, or on the text alone: the
baseline, which needs no teacher and skips its phase. In JAX or PyTorch, from the same weights and batches. Steps count
through both phases; `train/tokens` and `train/flops` count the student's phase alone and so compare runs.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from models_core.benches.measures import STUDENT_METRICS, TEACHER_METRICS, TEXT_METRICS
from models_core.benches.on_text import LARGER, SAMPLE_TOKENS, VALIDATION_BYTES, OnText
from models_core.catalog import Example, MetricInfo, StudyTemplate
from models_core.distill.options import ForwardKL, HardLabels, Sparse
from models_core.events import Artifact, Context, Event, Log, Metric
from models_core.recipes.distillation.spec import Spec

VERSION = "4"
FAMILY = "distillation"
EXAMPLES = (
    Example("Forward KL into a student of half the width", Spec(), cost_s=24),
    Example("The same student on the text alone", Spec(distillation=HardLabels()), cost_s=12),
    Example(
        "On-policy: half of the batches are the student's own",
        Spec.parse({"distillation": {"mode": "jensen_shannon"}, "sequences": {"kind": "on_policy"}, "length": 32}),
        cost_s=40,
    ),
    Example("The first one in PyTorch", Spec(framework="torch"), cost_s=30),
)

SMALL = LARGER.model_dump(mode="json") | {"d_model": 48, "d_ff": 144}
LARGE = LARGER.model_dump(mode="json") | {"d_model": 128, "d_ff": 384}

TEMPLATES = (
    StudyTemplate(
        "against_baseline",
        "Is the teacher worth it?",
        "The same student for the same number of steps: on the text alone, and towards the teacher.",
        arms={"text alone": {"distillation": {"mode": "hard"}}, "forward KL": {}},
        seeds=(0, 1, 2),
        x="train/tokens",
    ),
    StudyTemplate(
        "divergences",
        "Divergences",
        "The same student under every loss towards the teacher, the text alone as the baseline.",
        arms={
            "text alone": {"distillation": {"mode": "hard"}},
            "forward KL": {},
            "reverse KL": {"distillation": {"mode": "reverse_kl"}},
            "Jensen-Shannon": {"distillation": {"mode": "jensen_shannon"}},
            "skewed KL": {"distillation": {"mode": "skewed_kl"}},
            "total variation": {"distillation": {"mode": "total_variation"}},
        },
        seeds=(0, 1, 2),
        x="train/tokens",
    ),
    StudyTemplate(
        "sparse_on_text",
        "Sparse targets on text",
        "Sixteen entries a token in the four ways that are called top-k, against the whole distribution.",
        arms={
            "dense": {},
            "counts": {"targets": {"kind": "sampled"}},
            "unique": {"targets": {"kind": "sampled_unique"}},
            "Gumbel": {"targets": {"kind": "gumbel"}},
            "top-k": {"targets": {"kind": "top_k"}},
            "top-k, rest bucket": {"targets": {"kind": "top_k", "missing": "rest"}},
        },
        spec={"distillation": {"mode": "forward_kl", "soft_weight": 1.0}},
        seeds=(0, 1, 2),
        x="train/tokens",
    ),
    StudyTemplate(
        "quantised",
        "Quantised students",
        "Training through the rounding towards the unquantised teacher's distribution, against 16-bit weights.",
        arms={
            "16 bits": {},
            "int4, by column": {"quantise": "int4_channel"},
            "int4, blocks of 32": {"quantise": "int4_block"},
            "8-bit floats": {"quantise": "float8"},
        },
        seeds=(0, 1, 2),
    ),
    StudyTemplate(
        "quantised_fine_tuning",
        "Fine-tuning a model rounded",
        "As Gemma 3 does it: a trained model goes on for a few steps through the rounding, towards the probabilities "
        "that it had without. The arm of 16 bits reports, under rounded/, what rounding it afterwards costs.",
        arms={
            "16 bits": {},
            "int4, by column": {"quantise": "int4_channel"},
            "int4, blocks of 32": {"quantise": "int4_block"},
            "8-bit floats": {"quantise": "float8"},
        },
        spec={
            "student": LARGER.model_dump(mode="json"),
            "student_start": "teacher",
            # A student that equals its teacher has gradients of rounding alone; the usual eps would scale them up.
            # At a rate of 0.01 the arm without rounding drifts away from its teacher.
            "optimizer": {"kind": "adam", "lr": 0.002, "eps": 1e-4},
            "teacher_steps": 600,
            "student_steps": 120,
            "distillation": {"mode": "forward_kl", "soft_weight": 1.0},
        },
        seeds=(0, 1, 2),
    ),
    StudyTemplate(
        "teacher_size",
        "Teacher's size and horizon",
        "A smaller and a larger teacher, each over a short and a long training of the student: Gemma 3 reports that "
        "the smaller one wins the short race and the larger one the long.",
        arms={
            "small, short": {"teacher": SMALL, "student_steps": 60},
            "large, short": {"teacher": LARGE, "student_steps": 60},
            "small, long": {"teacher": SMALL, "student_steps": 480},
            "large, long": {"teacher": LARGE, "student_steps": 480},
        },
        spec={"teacher_steps": 300},
        seeds=(0, 1, 2),
        x="train/tokens",
    ),
)

METRICS = (
    *TEXT_METRICS,
    *TEACHER_METRICS,
    MetricInfo("train/hard_loss", "nats/token", "min", "Student's loss on the tokens it was trained on."),
    MetricInfo("train/feature_loss", "", "min", "Distance of the matched inner states."),
    MetricInfo("train/flops", "FLOP", None, "Student's phase, the teacher's forward passes included."),
    MetricInfo("distill/own_batches", "", None, "Batches so far that the student wrote itself."),
    MetricInfo("student/bytes", "bytes", "min", "Student's size: 16 bits a number, matrices as quantised."),
    *(
        MetricInfo(f"rounded/{what}_{form}", unit, "min", f"{words} in {form}, rounded after training without.")
        for form in ("int4_channel", "int4_block", "float8")
        for what, unit, words in (("nll", "nats/token", "Held-out loss"), ("bytes", "bytes", "Size"))
    ),
)


def run(spec: Spec, ctx: Context) -> Iterator[Event]:
    """Train the teacher, distil, evaluate; see the module's docstring."""
    from models_core import benches
    from models_core.data import stdlib_text
    from models_core.distill.plan import FORMATS, Assignment
    from models_core.distill.targets import open_cache
    from models_core.distill.vocabularies import check_tokenizers
    from models_core.training import phases
    from models_core.training.pacing import Pacing

    bench, device = benches.bench(spec.framework, ctx.seed, ctx.cache_dir)
    yield Log(device)
    given = OnText(bench, spec, seed=ctx.seed, validation_bytes=VALIDATION_BYTES)
    text, vocabulary, soft = given.text, given.vocabulary, spec.distillation
    check_tokenizers("bytes", spec.student_tokenizer, soft)
    teacher_steps = given.teacher_steps if spec.needs_teacher else 0
    pacing = Pacing(teacher_steps + spec.student_steps, spec.eval_every, spec.checkpoint_every)
    own_vocabulary = vocabulary if spec.student_tokenizer == "bytes" else stdlib_text.ASCII_VOCABULARY
    own_rows, config, teachers = own_vocabulary + spec.student_padding, spec.student, given.beginning
    if spec.student_start == "teacher":
        own_rows, config = teachers.rows, teachers.config
    counts = [teachers.config.parameter_count(teachers.rows), config.parameter_count(own_rows)]
    yield Log(
        f"Teacher {counts[0]:,} parameters, student {counts[1]:,}; {len(text.train):,} sequences of {spec.length} "
        f"tokens from text {text.fingerprint[:12]}."
    )

    teacher = None
    if spec.needs_teacher:
        teacher = yield from given.learnt_teacher(ctx, pacing)
        if teacher is None:
            return
    kept = bench.arrays(teacher, "teacher.")

    sparse = spec.targets if isinstance(spec.targets, Sparse) else None
    targets: Any = None
    if sparse is not None and isinstance(soft, ForwardKL):
        if sparse.cached:
            # A cache of the own framework, whose teacher is the same to the last bit, or else of the other one.
            found = [
                given.targets_description(framework, sparse, temperature=soft.temperature, steps=spec.student_steps)
                for framework in sorted(("jax", "torch"), key=lambda name: name != spec.framework)
            ]
            reader = open_cache(ctx.cache_dir, *found)
            yield Log(f"Targets from a cache of {reader.manifest.bytes_per_token():.1f} bytes a token.")
            targets = lambda rows, index: reader.at(index)  # noqa: E731
        else:
            draw = bench.draw(sparse, teachers.config, vocabulary=vocabulary, temperature=soft.temperature)
            targets = lambda rows, index: draw(teacher, rows, index)  # noqa: E731

    kind = None if spec.quantise == "none" else spec.quantise
    lessons, state = bench.lessons(
        Assignment(
            divergence=soft,
            student=config,
            teacher=teachers.config,
            teacher_model=teacher,
            own_rows=own_rows,
            optimizer=spec.optimizer,
            warmup_steps=spec.warmup_steps,
            steps=spec.student_steps,
            schedule=spec.schedule,
            # Both phases, and runs without a teacher, see the same batches in the same order.
            rows=given.rows,
            vocabulary=vocabulary,
            seed=ctx.seed,
            sequences=spec.sequences,
            sparse=sparse,
            targets=targets,
            features=spec.features,
            translate=None if spec.student_tokenizer == "bytes" else stdlib_text.as_ascii,
            same_tokens=spec.student_tokenizer == "bytes",
            micro_batch=spec.micro_batch,
            chunk=spec.loss_chunk,
            quantise=kind,
            start=teacher if spec.student_start == "teacher" else None,
        )
    )
    validation = text.validation if spec.student_tokenizer == "bytes" else stdlib_text.as_ascii(text.validation)
    evaluate, size = bench.evaluation(config, validation), bench.bytes_of(state.params, kind)
    finished = yield from phases.train(
        phases.Phase(
            name="student",
            offset=teacher_steps,
            steps=spec.student_steps,
            advance=lessons.advance,
            metrics=STUDENT_METRICS,
            evaluate=lambda params: evaluate(bench.student(params, kind)) | {"student/bytes": size},
            tokens_per_step=spec.batch_size * spec.length,
            kept=lambda: kept,
            counted=lessons.counted,
            keeping=bench.keeping,
        ),
        ctx,
        pacing,
        state,
    )
    if finished is None:
        return
    if kind is None:
        # The control of every quantised training: the same formats, applied to a model that never knew of them.
        rounded: dict[str, float] = {}
        for form in FORMATS:
            rounded[f"rounded/nll_{form}"] = evaluate(bench.student(finished.params, form))["eval/nll"]
            rounded[f"rounded/bytes_{form}"] = bench.bytes_of(finished.params, form)
        yield Metric(pacing.steps, rounded)

    student = bench.student(finished.params, kind)
    yield from given.written("sample.txt", student, config, SAMPLE_TOKENS)
    if teacher is not None:
        yield from given.written("teacher_sample.txt", teacher, teachers.config, SAMPLE_TOKENS)
    yield Artifact("student.safetensors", bench.exported(student))
