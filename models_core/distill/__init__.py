"""Distillation: divergences, sparse targets, caches of them, where the sequences come from, and SALT's two stages.

`options` and `flops` are light; the other modules import jax, those in `torch` PyTorch.
"""
