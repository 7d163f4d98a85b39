"""What recipes on workloads ask of a framework: one optimizer's training on one problem, over `jax` and over `torch`.

Both begin with the same weights and see the same batches and learning rates, so that a run is the same run in either,
up to rounding.
"""
