"""A training step and decoding of a Gemma 3 decoder, raced against transformers and a plain PyTorch loop.

All contenders load one random checkpoint that transformers writes, take the same batches, and use AdamW with gradient
clipping; before anything is timed their first losses must agree, and in decoding their greedy tokens. Each runs in a
process of its own with its library's default threads. They take turns, one round each, so that other load of the
machine meets all of them; printed are the medians of the rounds and the ratios to the best peer.

    ours, JAX         `training.language_model.Engine`, `nn.generation`
    ours, PyTorch     `training.torch.language_model.Engine`, `nn.torch.generation`
    transformers      Gemma3ForCausalLM with its default attention, its own loss, AdamW(fused=True); `generate`
    plain PyTorch     the same architecture as one would write it: torch.nn.Linear, scaled_dot_product_attention, full
                      logits, torch.optim.AdamW(fused=True); a Python loop over a cache of full length

    python benchmarks/decoder.py                        both races, float32, at the sizes of `SIZES`
    python benchmarks/decoder.py train --size micro     one race at one size
    python benchmarks/decoder.py train --precision bfloat16
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

# layers, width, feed-forward, query heads, key heads, head size, window, global every; then vocabulary, batch, length.
SIZES: dict[str, tuple[tuple[int, ...], int, int, int]] = {
    "micro": ((4, 256, 1024, 4, 1, 64, 64, 4), 4096, 8, 256),
    "mini": ((12, 384, 1536, 4, 1, 128, 128, 6), 8192, 4, 512),
}
CONTENDERS = ("jax", "torch", "transformers", "plain")
PEERS = ("transformers", "plain")
NAMES = {"jax": "ours, JAX", "torch": "ours, PyTorch", "transformers": "transformers", "plain": "plain PyTorch"}
LEARNING_RATE, BETAS, EPS, DECAY, CLIP = 1e-3, (0.9, 0.95), 1e-8, 0.1, 1.0
PROMPT, NEW = 64, 128
ROUNDS = 3
# Seconds of one round of a contender, at least one step.
ROUND_S = 3.0
# Of the first loss: rounding of float32 in other orders; of bfloat16.
SAME_LOSS = {"float32": 1e-4, "bfloat16": 3e-2}


def write_checkpoint(folder: Path, size: str) -> None:
    """A random Gemma 3 text model as transformers writes it."""
    import torch
    import transformers

    (layers, width, d_ff, heads, kv, head, window, every), vocabulary, _, length = SIZES[size]
    config = transformers.Gemma3TextConfig(
        vocab_size=vocabulary,
        hidden_size=width,
        intermediate_size=d_ff,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv,
        head_dim=head,
        query_pre_attn_scalar=head,
        sliding_window=window,
        sliding_window_pattern=every,
        max_position_embeddings=max(length, PROMPT + NEW),
    )
    torch.manual_seed(0)
    model = transformers.Gemma3ForCausalLM(config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * parameter.shape[1] ** -0.5)
    model.save_pretrained(folder)


def batch_of(size: str, index: int) -> np.ndarray:
    """Token rows (batch, length + 1)."""
    _, vocabulary, batch, length = SIZES[size]
    return np.random.default_rng(index).integers(1, vocabulary, (batch, length + 1)).astype(np.int32)


# Each contender: (train, decode), where train() is one step from the next batch, and returns the loss before it, and
# decode(n) the greedy continuation of the prompt by n tokens.


def ours(framework: str, folder: Path, size: str, precision: str) -> tuple[Callable[[], float], Any]:
    import importlib

    from models_core.nn.weights import gemma
    from models_core.optim.adam import Options
    from models_core.training.options import LoopOptions
    from models_core.training.precision import PRECISIONS

    _, vocabulary, batch, length = SIZES[size]
    found = gemma.load(folder)
    config = found.what.config
    place = "models_core.training" + (".torch" if framework == "torch" else "")
    # What every run does first.
    importlib.import_module(f"{place}.backend").prepare(None)
    flat = dict(_flat(found.params, ""))
    engine = importlib.import_module(f"{place}.language_model").Engine(
        config,
        vocabulary,
        seed=0,
        optimizer=Options(lr=LEARNING_RATE, beta1=BETAS[0], beta2=BETAS[1], eps=EPS, weight_decay=DECAY),
        steps=10**6,
        warmup_steps=0,
        decay="none",
        options=LoopOptions(clip=CLIP, precision=PRECISIONS[precision]),  # type: ignore[index]
        weights=flat,
    )
    count = iter(range(10**9))
    positions = np.broadcast_to(np.arange(length, dtype=np.int32), (1, batch, length))

    def train() -> float:
        rows = batch_of(size, next(count))[None]
        engine.step(
            {
                "inputs": rows[..., :-1],
                "targets": rows[..., 1:],
                "positions": positions,
                "segments": np.ones_like(positions),
                "valid": np.ones(positions.shape, np.float32),
            }
        )
        return float(engine.numbers()["loss"])

    prompt = batch_of(size, 0)[0, :PROMPT].tolist()
    if framework == "jax":
        import jax

        from models_core.nn import generation

        params = jax.tree.map(jax.numpy.asarray, found.params)
        return train, lambda new: generation.generate(params, config, [prompt], max_new=new)[0]
    from models_core.nn.torch import generation as torch_generation
    from models_core.nn.torch.decoder import Decoder

    model = Decoder(config, vocabulary).load_tree(found.params)
    return train, lambda new: torch_generation.generate(model, [prompt], max_new=new)[0]


def _flat(tree: Any, prefix: str) -> Any:
    if isinstance(tree, np.ndarray):
        yield prefix.removesuffix("."), tree
        return
    for key, part in tree.items() if isinstance(tree, dict) else enumerate(tree):
        yield from _flat(part, f"{prefix}{key}.")


def transformers_peer(folder: Path, size: str, precision: str) -> tuple[Callable[[], float], Any]:
    import torch
    import transformers

    dtype = getattr(torch, precision)
    model = transformers.Gemma3ForCausalLM.from_pretrained(folder, dtype=dtype).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=BETAS, eps=EPS, weight_decay=DECAY, fused=True
    )
    count = iter(range(10**9))

    def train() -> float:
        rows = torch.from_numpy(batch_of(size, next(count))).long()
        # What it would make of `labels` itself, but for one column that it would feed and not score.
        targets = rows[:, 1:].contiguous()
        loss = model(input_ids=rows[:, :-1], labels=targets, shift_labels=targets, use_cache=False).loss
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        return float(loss.detach())

    prompt = torch.from_numpy(batch_of(size, 0)[:1, :PROMPT]).long()
    reader = transformers.Gemma3ForCausalLM.from_pretrained(folder, dtype=dtype).eval()

    def decode(new: int) -> list[int]:
        with torch.inference_mode():
            made = reader.generate(
                prompt, max_new_tokens=new, min_new_tokens=new, do_sample=False, eos_token_id=None, pad_token_id=0
            )
        return list(made[0, PROMPT:].tolist())

    return train, decode


def plain_peer(folder: Path, size: str, precision: str) -> tuple[Callable[[], float], Any]:
    import torch
    from decoder_peers.plain import Model, Shape
    from safetensors.torch import load_file
    from torch import nn
    from torch.nn import functional as F  # noqa: N812

    shape, vocabulary = Shape(*SIZES[size][0]), SIZES[size][1]
    dtype = getattr(torch, precision)
    model = Model(shape, vocabulary, dtype)
    state = load_file(folder / "model.safetensors")
    model.load_state_dict({name.removeprefix("model."): tensor for name, tensor in state.items()})
    model.to(dtype)
    reader = Model(shape, vocabulary, dtype)
    reader.load_state_dict(model.state_dict())
    reader.to(dtype).eval()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=LEARNING_RATE, betas=BETAS, eps=EPS, weight_decay=DECAY, fused=True
    )
    count = iter(range(10**9))

    def train() -> float:
        rows = torch.from_numpy(batch_of(size, next(count))).long()
        logits = model(rows[:, :-1]).float()
        loss = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP)
        optimizer.step()
        return float(loss.detach())

    prompt = torch.from_numpy(batch_of(size, 0)[:1, :PROMPT]).long()

    @torch.inference_mode()
    def decode(new: int) -> list[int]:
        room = (1, shape.kv, PROMPT + new, shape.head)
        held = [tuple(torch.zeros(room, dtype=dtype) for _ in "kv") for _ in range(shape.layers)]
        logits, made = reader(prompt, held, 0)[:, -1], []
        for index in range(new):
            made.append(logits.argmax(-1))
            if index + 1 < new:
                logits = reader(made[-1][:, None], held, PROMPT + index)[:, -1]
        return [int(token) for token in made]

    return train, decode


def serve(contender: str, race: str, folder: Path, size: str, precision: str) -> None:
    """One contender: answers each line on standard input with a line of JSON."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    if contender in ("jax", "torch"):
        # The table of precisions names the format of weights and products.
        train, decode = ours(contender, folder, size, precision)
    elif contender == "transformers":
        train, decode = transformers_peer(folder, size, precision)
    else:
        train, decode = plain_peer(folder, size, precision)
    _, _, batch, length = SIZES[size]
    work, units = (train, batch * length) if race == "train" else (lambda: decode(NEW), NEW)
    first = work()
    work()
    print(json.dumps({"first": first}), flush=True)
    for _ in sys.stdin:
        calls, wall, cpu = 0, time.perf_counter(), time.process_time()
        while calls == 0 or time.perf_counter() - wall < ROUND_S:
            work()
            calls += 1
        done = calls * units
        row = {"wall": done / (time.perf_counter() - wall), "cpu": done / (time.process_time() - cpu)}
        print(json.dumps(row), flush=True)


def race(kind: str, size: str, precision: str, contenders: tuple[str, ...]) -> None:
    """Run one race and print its table."""
    with tempfile.TemporaryDirectory() as name:
        write_checkpoint(Path(name), size)
        command = [sys.executable, __file__, kind, "--size", size, "--precision", precision, "--folder", name]
        runners = {
            who: subprocess.Popen(
                [*command, "--contender", who], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
            for who in contenders
        }

        def ask(who: str) -> dict[str, Any]:
            line = runners[who].stdout.readline()  # type: ignore[union-attr]
            if not line:
                raise SystemExit(f"{NAMES[who]} ended early.")
            answer: dict[str, Any] = json.loads(line)
            return answer

        firsts = {who: ask(who)["first"] for who in contenders}
        check_same(kind, precision, firsts)
        rates: dict[str, list[dict[str, float]]] = {who: [] for who in contenders}
        for _ in range(ROUNDS):
            for who, runner in runners.items():
                runner.stdin.write("go\n")  # type: ignore[union-attr]
                runner.stdin.flush()  # type: ignore[union-attr]
                rates[who].append(ask(who))
        for runner in runners.values():
            runner.stdin.close()  # type: ignore[union-attr]
            runner.wait()
    middle = {
        who: {unit: statistics.median(row[unit] for row in rows) for unit in ("wall", "cpu")}
        for who, rows in rates.items()
    }
    peers = [who for who in contenders if who in PEERS]
    what = "training" if kind == "train" else f"decoding at batch 1, {PROMPT} + {NEW} tokens"
    print(f"\n{what}, {size}, {precision}")
    print(f"{'':16}{'tokens/s':>12}{'tokens/CPU-s':>14}" + "".join(f"{'to ' + NAMES[peer]:>26}" for peer in peers))
    for who, row in middle.items():
        ratios = "".join(
            f"{row['wall'] / middle[peer]['wall']:>14.2f}x{row['cpu'] / middle[peer]['cpu']:>7.2f}x CPU"
            for peer in peers
        )
        print(f"{NAMES[who]:16}{row['wall']:>12,.0f}{row['cpu']:>14,.0f}{ratios}")


def check_same(kind: str, precision: str, firsts: dict[str, Any]) -> None:
    """All computed the same thing, or there is no race."""
    if kind == "train":
        apart = max(firsts.values()) / min(firsts.values()) - 1
        if apart > SAME_LOSS[precision]:
            raise SystemExit(f"The contenders compute different losses: {firsts}")
        print(f"first losses agree within {apart:.1e}")
        return
    rows = list(firsts.values())
    # In bfloat16 near ties fall either way.
    if precision == "float32" and any(row != rows[0] for row in rows):
        raise SystemExit(f"The contenders decode different tokens: {firsts}")
    print("greedy tokens agree" if precision == "float32" else "greedy tokens are not compared in bfloat16")


def main() -> None:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("race", nargs="?", choices=("train", "decode"))
    parser.add_argument("--size", choices=SIZES)
    parser.add_argument("--precision", choices=SAME_LOSS, default="float32")
    parser.add_argument("--only", nargs="*", choices=CONTENDERS, default=CONTENDERS)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        serve(arguments.contender, arguments.race, arguments.folder, arguments.size, arguments.precision)
        return
    for kind in [arguments.race] if arguments.race else ["train", "decode"]:
        for size in [arguments.size] if arguments.size else SIZES:
            race(kind, size, arguments.precision, tuple(arguments.only))


if __name__ == "__main__":
    main()
