"""Word vectors by factorising the logarithms of how often words of a real text occur together.

Source: Pennington, Socher and Manning, "GloVe: global vectors for word representation", EMNLP 2014, equations 8 and 9.

    J = mean over pairs with X_ij > 0 of f(X_ij) (w_i . c_j + b_i + d_j - log X_ij)^2 ,  f(x) = min(1, (x / 10)^(3/4))

X_ij: occurrences of j within `window` words of i, each counted 1 / distance. A gradient touches few rows of a batch's
matrices: a test for optimizers that average statistics over many steps.
Deviates: a tenth of the pairs is held out; the cut of f is at 10 occurrences, not 100, for texts of a few hundred
kilobytes; vectors start normal with standard deviation 1 / sqrt(size).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from models_core.data.corpora import AnyCorpus, StdlibProse
from models_core.spec import field
from models_core.training.workloads._options import WorkloadOptions, task_field

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np

    from models_core.training.workloads._problem import Problem

FULL_WEIGHT, POWER = 10.0, 0.75
# One pair in ten is held out.
HELD_OUT = 10
# Some corpora are large; a few megabytes give all frequent words.
MOST_CHARACTERS = 4_000_000


class Options(WorkloadOptions, title="Word vectors"):
    """Factorise a matrix of word counts."""

    task: Literal["word_vectors"] = task_field("word_vectors", "Factorise a matrix of word counts.")
    data: AnyCorpus = field(StdlibProse(), title="Text", help="Whose words.", section="Task")
    words: int = field(
        1000, title="Words", help="The most frequent ones.", unit="words", ge=10, le=5000, section="Task"
    )
    window: int = field(
        5, title="Window", help="Words on each side that count as near.", unit="words", ge=1, le=50, section="Task"
    )
    size: int = field(16, title="Size", help="Of a vector: the rank of the factors.", ge=1, le=1000, section="Model")


def build(options: Options) -> Problem:
    """The problem; an example is a pair of words, its loss the weighted squared error of a logarithm."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from models_core.data import corpora
    from models_core.training.workloads._problem import Problem

    texts = [document.text for document in corpora.documents(options.data)]
    first, second, counts = count_pairs(texts, words=options.words, window=options.window)
    examples = {
        "word": first,
        "context": second,
        "log": np.log(counts).astype(np.float32),
        "weight": np.minimum(1.0, (counts / FULL_WEIGHT) ** POWER).astype(np.float32),
    }
    order = np.random.Generator(np.random.Philox(key=0)).permutation(len(counts))
    tests = len(counts) // HELD_OUT

    def init(key: Any) -> Any:
        keys = jax.random.split(key, 2)
        draws = (jax.random.normal(one, (options.words, options.size)) * options.size**-0.5 for one in keys)
        return {
            name: {"vectors": vectors, "bias": jnp.zeros(options.words)}
            for name, vectors in zip(("word", "context"), draws, strict=True)
        }

    return Problem(
        init=init,
        values=lambda params, pairs: {"loss": losses(params, pairs, lambda table, index: table[index])},
        train={name: array[order[tests:]] for name, array in examples.items()},
        test={name: array[order[:tests]] for name, array in examples.items()},
        note=f"{len(counts):,} pairs of {options.words:,} words, {tests:,} of them held out.",
    )


def losses(params: Any, pairs: Any, rows: Callable[[Any, Any], Any]) -> Any:
    """f(X_ij) (w_i . c_j + b_i + d_j - log X_ij)^2 of every pair, in either framework.

    rows(table, index): the rows of a table.
    """
    parts = [(params[side]["vectors"], params[side]["bias"], pairs[side]) for side in ("word", "context")]
    (w, c), (b, d) = ([rows(part[place], part[2]) for part in parts] for place in (0, 1))
    error = (w * c).sum(-1) + b + d - pairs["log"]
    return pairs["weight"] * error * error


def count_pairs(texts: Sequence[str], *, words: int, window: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices (i, j) of all pairs that occur within `window` words of a text, and their counts, one over distance each.

    Words are runs of letters, in lower case; the `words` most frequent, most frequent first (ties in alphabetical
    order). Words left out keep their place: they separate their neighbours. Raises DataInvalid when there are fewer
    words, or hardly a pair.
    """
    import re
    from collections import Counter

    import numpy as np

    from models_core.data._dataset import DataInvalid

    runs, left = [], MOST_CHARACTERS
    for text in texts:
        runs.append(re.findall(r"[a-z]+", text[:left].lower()))
        left -= len(text[:left])
    frequency = Counter(word for run in runs for word in run)
    ranked = sorted(frequency, key=lambda word: (-frequency[word], word))[:words]
    if len(ranked) < words:
        raise DataInvalid(f"The text has only {len(ranked)} words.", fields={"workload.words": "More than there are."})
    number = {word: index for index, word in enumerate(ranked)}
    totals = np.zeros(words * words)
    # A gap as wide as the window keeps the texts apart.
    ids = np.array([index for run in runs for index in (*(number.get(word, -1) for word in run), *[-1] * window)])
    for distance in range(1, window + 1):
        one, other = ids[:-distance], ids[distance:]
        both = (one >= 0) & (other >= 0)
        totals += np.bincount(one[both] * words + other[both], minlength=words * words) / distance
    table = totals.reshape(words, words)
    table = table + table.T
    first, second = np.nonzero(table)
    if len(first) < 2 * HELD_OUT:
        raise DataInvalid("Hardly two words of the text occur together.", fields={"workload.data": "Too little text."})
    return first.astype(np.int32), second.astype(np.int32), table[first, second]
