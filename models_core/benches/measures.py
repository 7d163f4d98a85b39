"""What the distillation recipes measure alike. Light."""

from __future__ import annotations

from models_core.catalog import MetricInfo

# What a student's step reports, by the keys of its numbers.
STUDENT_METRICS = {
    "loss": "train/loss",
    "hard_loss": "train/hard_loss",
    "soft_loss": "train/soft_loss",
    "feature_loss": "train/feature_loss",
    "router_loss": "train/router_loss",
    "forward_kl": "distill/forward_kl",
    "teacher_loss": "distill/teacher_loss",
    "grad_norm": "optim/grad_norm",
}
TEXT_METRICS = (
    MetricInfo("eval/nll", "nats/token", "min", "Student's loss on held-out files, a token is a byte.", primary=True),
    MetricInfo("eval/accuracy", "", "max", "Share of held-out tokens that the student ranks first."),
    MetricInfo("eval/calibration_error", "", "min", "Expected calibration error on held-out files, in 15 bins."),
    MetricInfo("train/loss", "nats/token", "min", "What the student minimises."),
    MetricInfo("train/soft_loss", "nats/token", "min", "Student's loss towards the teacher, at the temperature."),
    MetricInfo("train/router_loss", "nats/token", "min", "Balance and z losses of the student's experts, weighed."),
    MetricInfo("distill/forward_kl", "nats/token", "min", "KL(teacher || student) at temperature 1."),
    MetricInfo("distill/teacher_loss", "nats/token", None, "Teacher's own loss on the student's batch."),
    MetricInfo("distill/weight", "", None, "Weight of the teacher."),
    MetricInfo("distill/taught_batches", "", None, "Batches so far for which the teacher was asked."),
    MetricInfo("train/tokens", "tokens", None, "Tokens the student has learnt from."),
    MetricInfo("optim/grad_norm", "", None, "Euclidean norm of the gradient of the model in training."),
    MetricInfo("perf/tokens_per_s", "tokens/s", "max", "Training tokens a second, evaluation left out."),
)
TEACHER_METRICS = (
    MetricInfo("teacher/loss", "nats/token", "min", "Teacher's loss on the training text."),
    MetricInfo("teacher/eval_nll", "nats/token", "min", "Teacher's loss on held-out files."),
)
