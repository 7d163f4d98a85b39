"""Cost of every optimizer against Adam: CPU time of the update alone and of a whole training step.

One network of about a million parameters (784-1000-250-10, tanh), batches of 1,000 made-up images, the batch of SONew's
autoencoder experiments; in JAX everything is compiled and states are donated, in PyTorch everything is eager unless
--compiled, and Adam is torch.optim's, default or fused. Batches and gradients take turns: the same one again and again
would make every coupling singular. CPU time of the process, so that other programs on the machine count little, and
the time of a step on the clock; Adam and the other optimizer alternate, and the median of several rounds is printed.

    python benchmarks/optimizer_step.py                      every optimizer
    python benchmarks/optimizer_step.py sonew sonew:band=4   some, with options as NAME:KEY=JSON,KEY=JSON
    python benchmarks/optimizer_step.py --framework torch    PyTorch, against torch.optim.Adam
    python benchmarks/optimizer_step.py --framework torch --fused   the same against its fused form
    python benchmarks/optimizer_step.py --hidden 3000 2500          another size: about 10 million parameters
    python benchmarks/optimizer_step.py --batch 256                 another batch: the update weighs more
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from models_core import optim

SIZES = [784, 1000, 250, 10]
BATCH = [1000]
# Batches in turn: more than the widest band couples.
TURNS = 16
ROUNDS = 7
# CPU time of one timed stretch, long against the clock's grain.
STRETCH_S = 0.2


def parameters() -> dict[str, jax.Array]:
    generator = np.random.default_rng(0)
    tree = {}
    for i, (rows, columns) in enumerate(itertools.pairwise(SIZES)):
        kernel = generator.normal(size=(rows, columns)) / np.sqrt(rows)
        tree[f"kernel{i}"] = jnp.asarray(kernel, jnp.float32)
        tree[f"bias{i}"] = jnp.zeros(columns, jnp.float32)
    return tree


def loss(params: dict[str, jax.Array], x: jax.Array, y: jax.Array) -> jax.Array:
    for i in range(len(SIZES) - 1):
        x = x @ params[f"kernel{i}"] + params[f"bias{i}"]
        x = jnp.tanh(x) if i < len(SIZES) - 2 else x
    return jnp.mean(optax.softmax_cross_entropy_with_integer_labels(x, y))


def stretch(advance: Callable[[Any], Any], carry: Any, cycle: int) -> tuple[float, float, Any]:
    """CPU seconds and seconds of one call, and what it left; a whole number of cycles of so many calls is timed."""
    calls, begun, at = 0, time.process_time(), time.perf_counter()
    while calls < 3 or calls % cycle or time.process_time() - begun < STRETCH_S:
        carry = jax.block_until_ready(advance(carry))
        calls += 1
    return (time.process_time() - begun) / calls, (time.perf_counter() - at) / calls, carry


def cycle_of(options: optim.OptimizerOptions) -> int:
    """Steps after which an expensive one comes again."""
    return int(getattr(options, "update_every", 1))


def batches() -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(1)
    x = generator.uniform(size=(TURNS, BATCH[0], SIZES[0])).astype(np.float32)
    return x, generator.integers(0, SIZES[-1], (TURNS, BATCH[0]))


class Timed:
    """One optimizer in JAX, compiled: `update` alone and the whole `step`."""

    def __init__(self, options: optim.OptimizerOptions) -> None:
        # Some differentiate the loss once more, of the batch whose gradient they get.
        transformation = optax.with_extra_args_support(optim.build(options, 1e-3))
        x, y = (jnp.asarray(values) for values in batches())
        gradients = [jax.jit(jax.grad(loss))(parameters(), x[i], y[i]) for i in range(TURNS)]
        turns = itertools.cycle(range(TURNS))

        @partial(jax.jit, donate_argnums=(0, 1))
        def alone(params: Any, state: Any, given: Any, x: Any, y: Any) -> Any:
            updates, state = transformation.update(given, state, params, obj_fn=lambda p: loss(p, x, y))
            return optax.apply_updates(params, updates), state

        @partial(jax.jit, donate_argnums=(0, 1))
        def whole(params: Any, state: Any, x: Any, y: Any) -> Any:
            gradient = jax.grad(loss)(params, x, y)
            updates, state = transformation.update(gradient, state, params, obj_fn=lambda p: loss(p, x, y))
            return optax.apply_updates(params, updates), state

        def update(carry: Any) -> Any:
            turn = next(turns)
            return alone(*carry, gradients[turn], x[turn], y[turn])

        def step(carry: Any) -> Any:
            turn = next(turns)
            return whole(*carry, x[turn], y[turn])

        self.update, self.step = update, step
        self.update_carry, self.step_carry = ((p, transformation.init(p)) for p in (parameters(), parameters()))
        for _ in range(TURNS):
            self.update_carry, self.step_carry = update(self.update_carry), step(self.step_carry)
        self.state_bytes, self.cycle = optim.state_bytes(options, parameters()), cycle_of(options)

    def measure(self) -> tuple[float, float, float]:
        """CPU seconds of an update and of a step, and seconds of a step."""
        update_s, _, self.update_carry = stretch(self.update, self.update_carry, self.cycle)
        step_s, wall_s, self.step_carry = stretch(self.step, self.step_carry, self.cycle)
        return update_s, step_s, wall_s


class TimedTorch:
    """One optimizer in PyTorch, on the same network; `optimizer` makes it from the parameters.

    wants_loss: every so many steps the optimizer differentiates the loss, its update then includes the gradient.
    """

    def __init__(self, optimizer: Callable[[Any], Any], cycle: int = 1, *, wants_loss: bool = False) -> None:
        import torch

        torch.set_num_threads(1)
        layers: list[Any] = []
        for fan_in, fan_out in itertools.pairwise(SIZES):
            layers += [torch.nn.Linear(fan_in, fan_out), torch.nn.Tanh()]
        model = torch.nn.Sequential(*layers[:-1])
        made = optimizer(model.parameters())
        x, y = (torch.from_numpy(values) for values in batches())
        turns = itertools.cycle(range(TURNS))

        def backward(turn: int) -> Any:
            made.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x[turn]), y[turn])
            loss.backward()
            return loss.detach()

        gradients = []
        for turn in range(TURNS):
            backward(turn)
            gradients.append([parameter.grad for parameter in model.parameters()])

        steps = itertools.count()

        def update() -> None:
            turn = next(turns)
            if next(steps) % cycle == 0 and wants_loss:
                made.step(partial(backward, turn))
                return
            for parameter, gradient in zip(model.parameters(), gradients[turn], strict=True):
                parameter.grad = gradient
            made.step()

        def step() -> None:
            next(steps)
            made.step(partial(backward, next(turns)))

        self.update, self.step, self.cycle = update, step, cycle
        for _ in range(TURNS):
            update()
        self.state_bytes = sum(
            value.numel() * value.element_size()
            for state in made.state.values()
            for value in state.values()
            if torch.is_tensor(value)
        )

    def measure(self) -> tuple[float, float, float]:
        """CPU seconds of an update and of a step, and seconds of a step."""
        update_s, _, _ = stretch(lambda _: self.update(), None, self.cycle)
        step_s, wall_s, _ = stretch(lambda _: self.step(), None, self.cycle)
        return update_s, step_s, wall_s


def options_of(text: str) -> optim.OptimizerOptions:
    name, _, rest = text.partition(":")
    given = dict(pair.split("=", 1) for pair in rest.split(",") if pair)
    payload = {"kind": name} | {key: json.loads(value) for key, value in given.items()}
    return optim.optimizers()[name].parse(payload)


def timed_torch(options: optim.OptimizerOptions, compiled: bool) -> TimedTorch:
    from models_core.optim import torch as twins

    classes = {cls.kind(): cls for name in twins.__all__ for cls in [getattr(twins, name)]}
    given = options.model_dump(exclude={"kind"}) | {"lr": 1e-3}
    if compiled:
        # Only SONew has this; others refuse it by name.
        given["compiled"] = True
    return TimedTorch(
        lambda parameters: classes[options.kind](parameters, **given), cycle_of(options), wants_loss=options.wants_loss
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("optimizers", nargs="*", default=sorted(optim.optimizers()))
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--framework", choices=["jax", "torch"], default="jax")
    parser.add_argument("--fused", action="store_true", help="compare with torch's fused Adam")
    parser.add_argument("--compiled", action="store_true", help="PyTorch: SONew with compiled=True")
    parser.add_argument("--hidden", type=int, nargs="+", help="sizes of the hidden layers")
    parser.add_argument("--batch", type=int, default=BATCH[0], help="examples in a step")
    arguments = parser.parse_args()
    BATCH[0] = arguments.batch
    if arguments.hidden:
        SIZES[1:-1] = arguments.hidden
    adam: Timed | TimedTorch
    if arguments.framework == "jax":
        adam = Timed(optim.optimizers()["adam"]())
    else:
        import torch

        adam = TimedTorch(partial(torch.optim.Adam, lr=1e-3, fused=arguments.fused or None))
    titles = "".join(f"{title:>10}{'/ Adam':>8}" for title in ("update ms", "step ms", "wall ms"))
    print(f"{'optimizer':<28}{titles}{'state MB':>10}")
    for text in arguments.optimizers:
        options = options_of(text)
        other = Timed(options) if arguments.framework == "jax" else timed_torch(options, arguments.compiled)
        pairs = [(adam.measure(), other.measure()) for _ in range(arguments.rounds)]
        columns = ""
        for i in range(3):
            columns += f"{statistics.median(theirs[i] for _, theirs in pairs) * 1e3:>10.2f}"
            columns += f"{statistics.median(theirs[i] / ours[i] for ours, theirs in pairs):>8.2f}"
        print(f"{text:<28}{columns}{other.state_bytes / 1e6:>10.2f}", flush=True)


if __name__ == "__main__":
    main()
