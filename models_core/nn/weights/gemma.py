"""Gemma 1, Gemma 3 text and Gemma 3 multimodal checkpoints in the Hugging Face format, as trees of numpy arrays.

Strict: a missing, unexpected or misshapen tensor, or a configuration that contradicts the tensors, is an error that
names it, raised before anything is allocated. The number of embedding rows is the tensor's.
`nn.pretrained` and `nn.torch.pretrained` put the trees into JAX and PyTorch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from models_core.errors import InputInvalid, WeightsInvalid
from models_core.nn.weights import hf_config, names, tensor_file
from models_core.nn.weights.hf_config import Description, Style

DType = Literal["float32", "bfloat16", "float16"]
DTYPES: dict[str, np.dtype[Any]] = {
    "float32": np.dtype(np.float32),
    "bfloat16": np.dtype(ml_dtypes.bfloat16),
    "float16": np.dtype(np.float16),
}
# How many names an error lists before it counts the rest.
_LISTED = 5


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A description and its parameters.

    params: for text the tree of `nn.decoder`; for images {"text", "vision", "projector"}, see `nn.multimodal`.
    """

    what: Description
    params: dict[str, Any]


def load(folder: Path | str, *, dtype: DType | None = None) -> Checkpoint:
    """Read a checkpoint's folder: config.json, and model.safetensors or an index and its files.

    dtype: of the parameters; None keeps the file's. Conversion rounds to nearest, ties to even.
    Raises WeightsInvalid; `fields` names the tensor, the file or the field of config.json.
    """
    folder = Path(folder)
    target = None if dtype is None else _dtype(dtype)
    what = hf_config.read(folder)
    entries = tensor_file.read_folder(folder)
    spelled = names.canonical(entries, what)
    found = {spelled[name]: entry for name, entry in entries.items()}
    tied = found.pop(names.TIED, None)
    wanted = names.leaves(what)
    _check(what, wanted, found)
    embedding = found[wanted[0].name]
    if tied is not None and not _same(tied, embedding):
        raise _wrong(names.TIED, "Differs from the embedding; an untied output layer is not supported.")
    tree: dict[str, Any] = {}
    for leaf in wanted:
        held = leaf.to_tree(found[leaf.name].read())
        # Copied in the order of the tree, so that the file can go.
        _put(tree, leaf.path, np.array(held, dtype=target or held.dtype, order="C"))
    return Checkpoint(replace(what, vocabulary=embedding.shape[0]), _listed(tree))


def save(
    folder: Path | str,
    checkpoint: Checkpoint,
    *,
    dtype: DType | None = None,
    style: Style = "new",
    shard_bytes: int = 5_000_000_000,
) -> list[Path]:
    """Write a checkpoint that every version of the transformers library loads; returns its files.

    params may hold arrays of any framework that numpy reads. dtype: None keeps the parameters'. style: of config.json;
    "old" for transformers before 5. Raises WeightsInvalid where the decoder has no such form, or a leaf is missing,
    surplus or misshapen.
    """
    what, folder = checkpoint.what, Path(folder)
    if style not in ("old", "new"):
        raise InputInvalid("There is no such style of configuration.", fields={"style": "One of old, new."})
    target = None if dtype is None else _dtype(dtype)
    hf_config.check_exportable(what.kind, what.config)
    flat = dict(_flat(checkpoint.params, ()))
    tensors: dict[str, NDArray[Any]] = {}
    for leaf in names.leaves(what):
        if leaf.path not in flat:
            raise _wrong(leaf.name, f"The parameters have no {_dotted(leaf.path)}.")
        value = np.asarray(flat.pop(leaf.path))
        if target is not None:
            value = value.astype(target)
        if value.dtype not in DTYPES.values():
            raise _wrong(leaf.name, f"dtype {value.dtype} is not one of {', '.join(DTYPES)}.")
        # The patch kernel's rows are checked by its element count; the others by their shape.
        if leaf.form == "patch":
            rows, *rest = (size or 0 for size in leaf.shape)
            fits = value.shape == (int(np.prod(rest)), rows)
        else:
            shape = leaf.shape if leaf.form == "same" else leaf.shape[::-1]
            fits = _fits(value.shape, shape)
        if not fits:
            raise _wrong(
                leaf.name, f"{_dotted(leaf.path)} has shape {value.shape}, which contradicts the configuration."
            )
        tensors[leaf.name] = leaf.to_file(value)
    if flat:
        path = next(iter(flat))
        raise _wrong(_dotted(path), "The parameters hold a leaf that the configuration does not have.")
    rows = tensors[names.leaves(what)[0].name].shape[0]
    kinds = {str(tensor.dtype) for tensor in tensors.values()}
    stored = kinds.pop() if len(kinds) == 1 else "float32"
    files = tensor_file.write_folder(folder, tensors, shard_bytes=shard_bytes)
    path = folder / "config.json"
    path.write_text(json.dumps(hf_config.render(replace(what, vocabulary=rows), stored, style), indent=2) + "\n")
    return [path, *files]


def _check(what: Description, wanted: list[names.Leaf], found: Mapping[str, tensor_file.Entry]) -> None:
    known = {leaf.name for leaf in wanted}
    missing = [leaf.name for leaf in wanted if leaf.name not in found]
    surplus = sorted(set(found) - known)
    if missing or surplus:
        told = [f"Missing: {_some(missing)}."] if missing else []
        told += [f"Unexpected: {_some(surplus)}."] if surplus else []
        fields = dict.fromkeys(missing, "Missing.") | dict.fromkeys(surplus, "Unexpected.")
        raise WeightsInvalid(f"The tensors are not those of the configuration. {' '.join(told)}", fields=fields)
    floats = set(DTYPES.values()) | {np.dtype(np.float64)}
    for leaf in wanted:
        entry = found[leaf.name]
        if not _fits(entry.shape, leaf.shape):
            expected = "x".join("any" if size is None else str(size) for size in leaf.shape)
            got = "x".join(map(str, entry.shape)) or "none"
            raise _wrong(leaf.name, f"Its shape is {got}; the configuration says {expected}.")
        if entry.dtype not in floats:
            raise _wrong(leaf.name, f"dtype {entry.dtype} is no floating-point number.")
    rows = found[wanted[0].name].shape[0]
    if what.vocabulary is not None and rows != what.vocabulary:
        raise _wrong(wanted[0].name, f"It has {rows} rows; the configuration's vocab_size is {what.vocabulary}.")


def _same(one: tensor_file.Entry, other: tensor_file.Entry) -> bool:
    return (one.shape, one.dtype) == (other.shape, other.dtype) and np.array_equal(
        one.read().reshape(-1).view(np.uint8), other.read().reshape(-1).view(np.uint8)
    )


def _fits(shape: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(shape) == len(wanted) and all(want in (None, got) for got, want in zip(shape, wanted, strict=True))


def _dtype(name: str) -> np.dtype[Any]:
    if name not in DTYPES:
        raise InputInvalid("There is no such precision.", fields={"dtype": f"One of {', '.join(DTYPES)}."})
    return DTYPES[name]


def _put(tree: dict[Any, Any], path: tuple[str | int, ...], leaf: Any) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = leaf


def _listed(tree: Any) -> Any:
    """Objects keyed by number become lists."""
    if not isinstance(tree, dict):
        return tree
    inner = {key: _listed(value) for key, value in tree.items()}
    return [inner[i] for i in range(len(inner))] if inner and all(isinstance(key, int) for key in inner) else inner


def _flat(tree: Any, path: tuple[str | int, ...]) -> Any:
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            yield from _flat(value, (*path, key))
    elif isinstance(tree, list | tuple):
        for index, value in enumerate(tree):
            yield from _flat(value, (*path, index))
    else:
        yield path, tree


def _some(found: list[str]) -> str:
    more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
    return ", ".join(found[:_LISTED]) + more


def _dotted(path: tuple[str | int, ...]) -> str:
    return ".".join(map(str, path))


def _wrong(name: str, reason: str) -> WeightsInvalid:
    return WeightsInvalid(f"The tensors are not those of the configuration. {name}: {reason}", fields={name: reason})
