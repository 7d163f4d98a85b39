"""Do two federations gain by teaching each other? The arms of the codistillation template, and domain transfer, paired.

    python benchmarks/codistillation_study.py [--seeds 5] [--data fashion|writers] [--rounds 200] [--results FILE]

A small MLP on all clients, a large one on those with high capacity, `--high-share` of them. `fashion` (Fashion-MNIST,
files on the node) are real images, labels Dirichlet; the server's images in the domain are training images that no
client keeps, out of the domain synthetic glyphs. `writers` are synthetic. For the transfer, high capacity is found in
the fast domain alone, and the large model is judged on what only the slow one has. Mean accuracy at the end, and the
paired difference to two independent federations with a 95 % interval (Student's t). PCD and MCD are reconstructions.
With `--results` a study that was stopped goes on where it was, and one that was finished prints its tables again.
"""

from __future__ import annotations

import argparse
import statistics
import time
from tempfile import TemporaryDirectory
from typing import Any

from studies.paired import Runs, Values, differences, interval

DATA: dict[str, dict[str, Any]] = {
    "writers": {},
    "fashion": {
        "data": "fashion_mnist", "clients": 1000, "server_images": 2000, "local_batch_size": 20,
        "partition": {"kind": "dirichlet_per_client", "alpha": 0.3},
    },
}  # fmt: skip
# Two domains of labels instead of a mix, for the transfer on real images.
TRANSFER: dict[str, dict[str, Any]] = {"writers": {}, "fashion": {"partition": {"kind": "label_domains"}}}
STUDIES = ("codistillation", "domain_transfer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--data", choices=sorted(DATA), default="fashion")
    parser.add_argument("--high-share", type=float, default=0.25, help="of clients with high capacity")
    parser.add_argument("--study", choices=("all", *STUDIES), default="all")
    parser.add_argument("--arms", default="", help="names of arms with commas between them; all when empty")
    parser.add_argument("--results", default="", help="a file of finished runs, read and appended to")
    arguments = parser.parse_args()
    begun, seeds = time.perf_counter(), range(arguments.seeds)
    print(f"{arguments.data}, {len(seeds)} seeds, {arguments.rounds} rounds", end="")
    print(f", high capacity {arguments.high_share:.0%}", flush=True)
    with TemporaryDirectory() as cache_dir:
        runs = Runs("federated_codistillation", path=arguments.results, cache_dir=cache_dir)
        for study in STUDIES if arguments.study == "all" else (arguments.study,):
            template = runs.recipe.template(study)
            assert template.baseline
            transfer = study == "domain_transfer"
            base = {**template.spec, **DATA[arguments.data], **(TRANSFER[arguments.data] if transfer else {})}
            base |= {"server_steps": arguments.rounds, "high_share": arguments.high_share, "eval_every": 100_000}
            wanted = arguments.arms.split(",") if arguments.arms else list(template.arms)
            keys = ["eval/small_accuracy", "eval/large_accuracy", *(["eval/large_slow_accuracy"] if transfer else [])]
            head(template.title, keys, template.baseline)
            found: dict[str, list[Values]] = {}
            for name in dict.fromkeys([template.baseline, *wanted]):
                if name in template.arms:
                    found[name] = [runs.last({**base, **template.arms[name]}, seed) for seed in seeds]
                    show(name, found[name], found[template.baseline], keys)
    print(f"\n{time.perf_counter() - begun:.0f} s of real time")


def head(title: str, keys: list[str], baseline: str) -> None:
    names = [key.removeprefix("eval/").removesuffix("_accuracy").replace("large_slow", "large, slow") for key in keys]
    print(f"\n{title}\n\n| arm | {' | '.join(names)} | {' | '.join(f'{name} against {baseline}' for name in names)} |")
    print("|---" * (2 * len(keys) + 1) + "|", flush=True)


def show(name: str, runs: list[Values], baseline: list[Values], keys: list[str]) -> None:
    """A row of the table; baseline: the runs of the same seeds."""
    means = [f"{statistics.fmean(run[key] for run in runs):.3f}" for key in keys]
    gaps = ["" if runs is baseline else interval(differences(runs, baseline, key)) for key in keys]
    print(f"| {' | '.join([name, *means, *gaps])} |", flush=True)


if __name__ == "__main__":
    main()
