"""Tables that assign tensors to parameters: each key is used, or ignored for a reason, and each parameter is filled."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import jax
import numpy as np

from jepa_jax.errors import ConfigError
from jepa_jax.pretrained.tensor import Tensor, forget, printable

STRIP_COLUMNS = 64  # written at a time by a transposing copy, so that a page of the source stays in the cache
ALIGNMENT_BYTES = 64  # alignment with which jax uses the memory of an array without copying it


def same(a: np.ndarray) -> np.ndarray:
    """Return the array unchanged."""
    return a


def transposed(a: np.ndarray) -> np.ndarray:
    """Transpose the weight of a linear map, [out, in] -> [in, out]."""
    return a.T


def rows(a: np.ndarray) -> np.ndarray:
    """Reshape tokens [1, N, D] or a token [D] to [N, D]."""
    return a.reshape(-1, a.shape[-1])


def below_zeros(a: np.ndarray) -> np.ndarray:
    """Reshape tokens [1, N, D] to [1 + N, D] with a row of zeros above them."""
    return np.pad(rows(a), ((1, 0), (0, 0)))


def patches(a: np.ndarray) -> np.ndarray:
    """Reshape the weight of a convolution [D, C, P, P] to [P P C, D], with rows ordered by row, column and channel."""
    return a.transpose(2, 3, 1, 0).reshape(-1, a.shape[0])


@dataclass(frozen=True)
class Rule:
    """One line of a table.

    Attributes:
      source: Key in the file; `{i}` stands for the index of a block.
      target: Path of the parameter, such as `blocks/qkv/kernel`; parameters of blocks are stacked over i.
      how: Function from the tensor to the parameter, or to a part of it.
      part: (j, n) if the tensor is the j-th of n equal parts of the last axis.
    """

    source: str
    target: str
    how: Callable[[np.ndarray], np.ndarray] = same
    part: tuple[int, int] = (0, 1)

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Expression of the keys that the rule takes, with the index of the block as `i`."""
        return re.compile(re.escape(self.source).replace(re.escape("{i}"), r"(?P<i>0|[1-9]\d*)"))


def linear(source: str, target: str, part: tuple[int, int] = (0, 1)) -> tuple[Rule, Rule]:
    """Return the rules for the weight and the bias of a linear map."""
    return (
        Rule(f"{source}.weight", f"{target}/kernel", transposed, part),
        Rule(f"{source}.bias", f"{target}/bias", same, part),
    )


def norm(source: str, target: str) -> tuple[Rule, Rule]:
    """Return the rules for the weight and the bias of a layer norm."""
    return Rule(f"{source}.weight", f"{target}/scale"), Rule(f"{source}.bias", f"{target}/bias")


@dataclass(frozen=True)
class Piece:
    """Tensor and the rule that assigns it to a parameter.

    Attributes:
      key: Name of the tensor in the file, for messages.
      tensor: Tensor, not yet read.
      rule: Rule of the key.
      layer: Index of the block, or None.
    """

    key: str
    tensor: Tensor
    rule: Rule
    layer: int | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the tensor in the form of the parameter, determined without reading it."""
        return self.rule.how(np.broadcast_to(np.uint8(0), self.tensor.shape)).shape


def match(
    tensors: Mapping[str, Tensor], rules: tuple[Rule, ...], ignored: tuple[tuple[str, str], ...]
) -> tuple[list[Piece], list[str], dict[str, str]]:
    """Find the rule of each key.

    Args:
      tensors: Tensors by key.
      rules: Table.
      ignored: Regular expressions of keys that are left out, each with the reason.

    Returns:
      The pieces, the keys without a rule, and the ignored expressions that occurred, with their reasons.
    """
    patterns = [(rule.pattern, rule) for rule in rules]
    pieces, unknown, left_out = [], [], {}
    for key, tensor in tensors.items():
        found = [(m, rule) for pattern, rule in patterns if (m := pattern.fullmatch(key))]
        reasons = [(expression, reason) for expression, reason in ignored if re.fullmatch(expression, key)]
        if len(found) == 1 and not reasons:
            m, rule = found[0]
            pieces.append(Piece(printable(key), tensor, rule, int(m["i"]) if "i" in m.groupdict() else None))
        elif reasons and not found:
            left_out.update(reasons)
        else:
            assert not found, f"two lines of the table for {key}"
            unknown.append(printable(key))
    return pieces, unknown, left_out


def check(pieces: list[Piece], unknown: list[str], abstract: Any) -> None:
    """Check that the pieces fill all parameters, and each part of them once.

    Args:
      pieces: Pieces to check.
      unknown: Keys without a rule.
      abstract: Shapes of the parameters, nested.

    Raises:
      ConfigError: If they do not; the message lists all problems in one line.
    """
    wanted = dict(_flat(abstract))
    filled: dict[str, set[tuple[int | None, int]]] = defaultdict(set)
    wrong = []
    for piece in pieces:
        leaf = wanted.get(piece.rule.target)
        if leaf is None or (piece.layer is not None and piece.layer >= leaf.shape[0]):
            unknown = [*unknown, piece.key]
            continue
        shape = _place(piece, leaf.shape)
        if shape != piece.shape:
            wrong.append(
                f"{piece.key} has shape {list(piece.tensor.shape)} where the other tensors require {list(shape)}"
            )
        filled[piece.rule.target].add((piece.layer, piece.rule.part[0]))
    parts = {piece.rule.target: piece.rule.part[1] for piece in pieces}
    missing = []
    for target, leaf in wanted.items():
        layers = range(leaf.shape[0]) if target.startswith("blocks/") else (None,)
        places = {(layer, part) for layer in layers for part in range(parts.get(target, 1))}
        if gone := places - filled[target]:
            numbers = sorted({layer for layer, _ in gone if layer is not None})
            some = f" of block {', '.join(map(str, numbers))}" if 0 < len(numbers) < len(layers) else ""
            missing.append(f"{target}{some}")
    problems = [
        f"{text}: {', '.join(found)}"
        for text, found in (
            ("keys that belong to no parameter", _grouped(unknown)),
            ("wrong shapes", wrong),
            ("parameters without a tensor", missing),
        )
        if found
    ]
    if problems:
        raise ConfigError("; ".join(problems))


def _place(piece: Piece, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape of the part of a parameter with this shape that a piece fills."""
    inner = shape if piece.layer is None else shape[1:]
    return (*inner[:-1], inner[-1] // piece.rule.part[1])


def _grouped(keys: list[str]) -> list[str]:
    """Return the keys, with those that differ only in a number combined."""
    groups: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        groups[re.sub(r"\.\d+\.", ".*.", key)].append(key)
    return [same[0] if len(same) == 1 else f"{name} ({len(same)} times)" for name, same in groups.items()]


def fill(pieces: list[Piece], abstract: Any) -> Any:
    """Read the tensors into parameters.

    Each tensor is read, copied into its parameter and released, so that loading a file needs the memory of its
    parameters and of a few tensors. The arrays are aligned such that jax on CPU uses them without another copy.

    Args:
      pieces: Pieces that fill all parameters.
      abstract: Shapes of the parameters, nested.

    Returns:
      float32 NumPy arrays in the structure of `abstract`.
    """
    params = jax.tree.map(lambda leaf: _empty(leaf.shape), abstract)
    leaves = dict(_flat(params))

    def copy(piece: Piece) -> None:
        target = leaves[piece.rule.target]
        if piece.layer is not None:
            target = target[piece.layer]
        j, n = piece.rule.part
        width = target.shape[-1] // n
        read = piece.tensor.read()
        _copy(piece.rule.how(read), target[..., j * width : (j + 1) * width])
        forget(read)

    with ThreadPoolExecutor(2) as pool:  # memory limits the copying; more threads only hold more tensors
        for done in [pool.submit(copy, piece) for piece in pieces]:
            done.result()
    return params


def _copy(source: np.ndarray, target: np.ndarray) -> None:
    if source.ndim != 2 or source.strides[-1] == source.itemsize:
        target[...] = source
        return
    for at in range(0, source.shape[1], STRIP_COLUMNS):
        target[:, at : at + STRIP_COLUMNS] = source[:, at : at + STRIP_COLUMNS]


def _empty(shape: tuple[int, ...]) -> np.ndarray:
    size = 4 * int(np.prod(shape))
    raw = np.empty(size + ALIGNMENT_BYTES, np.uint8)
    start = -raw.ctypes.data % ALIGNMENT_BYTES
    return raw[start : start + size].view(np.float32).reshape(shape)


def _flat(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield prefix + name, value
