"""Memory of Kronecker-factored optimizers for one square matrix: measured after an update, beside the formula.

S-Shampoo keeps min(rank, d) d + min(rank, d) + 1 numbers for each axis of length d, Shampoo 2 d^2; both keep one number
a parameter for the graft and one for the momentum. What is printed as measured is the size of the arrays that exist
after one update, all of the state but its step count.

    python benchmarks/optimizer_memory.py                       sides 256 to 2048, rank 32
    python benchmarks/optimizer_memory.py --rank 128 --sides 512 1024
"""

from __future__ import annotations

import argparse

import jax
import numpy as np

from models_core import optim
from models_core.optim.s_shampoo import Options as SShampoo
from models_core.optim.shampoo import Options as Shampoo

FLOAT_BYTES = 4


def measured_bytes(options: optim.OptimizerOptions, side: int) -> int:
    """Bytes of the statistics after one update of a side x side matrix."""
    params = jax.numpy.zeros((side, side))
    grads = jax.numpy.asarray(np.random.default_rng(0).normal(size=(side, side)), "float32")
    transformation = optim.build(options)
    state = transformation.update(grads, transformation.init(params), params)[1]
    return sum(leaf.nbytes for leaf in jax.tree.leaves(jax.block_until_ready(state)) if leaf.dtype != np.int32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rank", type=int, default=32)
    parser.add_argument("--sides", type=int, nargs="+", default=[256, 512, 1024, 2048])
    arguments = parser.parse_args()
    print(f"MB at rank {arguments.rank}")
    print(f"{'side':>6}{'Shampoo factors':>17}{'S-Shampoo factors':>19}{'formula':>10}{'share':>8}")
    for side in arguments.sides:
        beside = 2 * side * side * FLOAT_BYTES
        full = measured_bytes(Shampoo(block_size=0), side) - beside
        sketched = measured_bytes(SShampoo(rank=arguments.rank), side) - beside
        kept = min(arguments.rank, side)
        formula = 2 * (kept * side + kept + 1) * FLOAT_BYTES
        assert sketched == formula, (sketched, formula)
        print(
            f"{side:>6}{full / 1e6:>17.3f}{sketched / 1e6:>19.3f}{formula / 1e6:>10.3f}{sketched / full:>8.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
