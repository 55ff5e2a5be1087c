"""From a table of key patterns to parameters: every key is used or ignored for a reason, every parameter is filled."""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jepa_jax.errors import ConfigError
from jepa_jax.pretrained.tensor import Tensor, forget

STRIP = 64  # columns that a transposing copy writes at a time: a page of the source then stays in the cache
ALIGNED = 64  # bytes: what jax asks of an array to take it over without a copy


def same(a: np.ndarray) -> np.ndarray:
    """As it is."""
    return a


def transposed(a: np.ndarray) -> np.ndarray:
    """[out, in] -> [in, out]."""
    return a.T


def rows(a: np.ndarray) -> np.ndarray:
    """[1, N, D] or [D] -> [N, D]."""
    return a.reshape(-1, a.shape[-1])


def patches(a: np.ndarray) -> np.ndarray:
    """A convolution's weight [D, C, P, P] -> [P P C, D], rows in the order row, column, channel."""
    return a.transpose(2, 3, 1, 0).reshape(-1, a.shape[0])


@dataclass(frozen=True)
class Rule:
    """One line of a table.

    Attributes:
      source: a key of the file; `{i}` stands for the number of a block.
      target: the path of the parameter, `blocks/qkv/kernel`; those of blocks are stacked over i.
      how: from the tensor to the parameter, or to its part.
      part: (j, n) if it is the j-th of n equal parts of the last axis.
    """

    source: str
    target: str
    how: Callable[[np.ndarray], np.ndarray] = same
    part: tuple[int, int] = (0, 1)


def linear(source: str, target: str, part: tuple[int, int] = (0, 1)) -> tuple[Rule, Rule]:
    """The two rules of a linear map, weight and bias."""
    return (
        Rule(f"{source}.weight", f"{target}/kernel", transposed, part),
        Rule(f"{source}.bias", f"{target}/bias", same, part),
    )


def norm(source: str, target: str) -> tuple[Rule, Rule]:
    """The two rules of a layer norm."""
    return Rule(f"{source}.weight", f"{target}/scale"), Rule(f"{source}.bias", f"{target}/bias")


@dataclass(frozen=True)
class Piece:
    """A tensor and where it goes.

    Attributes:
      key: its name in the file.
      layer: the block's number, or None.
    """

    key: str
    tensor: Tensor
    rule: Rule
    layer: int | None

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what goes into the parameter; found without reading."""
        return self.rule.how(np.broadcast_to(np.uint8(0), self.tensor.shape)).shape


def match(
    tensors: Mapping[str, Tensor], rules: tuple[Rule, ...], ignored: tuple[tuple[str, str], ...]
) -> tuple[list[Piece], list[str], dict[str, str]]:
    """Find each key's rule.

    Args:
      ignored: regular expressions of keys that are left out, each with the reason.

    Returns:
      What was found, the keys that no rule has, and the ignored expressions that occurred with their reasons.
    """
    patterns = [(_pattern(rule.source), rule) for rule in rules]
    pieces, unknown, left_out = [], [], {}
    for key, tensor in tensors.items():
        found = [(m, rule) for pattern, rule in patterns if (m := pattern.fullmatch(key))]
        reasons = [(expression, reason) for expression, reason in ignored if re.fullmatch(expression, key)]
        if len(found) == 1 and not reasons:
            m, rule = found[0]
            pieces.append(Piece(key, tensor, rule, int(m["i"]) if "i" in m.groupdict() else None))
        elif reasons and not found:
            left_out.update(reasons)
        else:
            assert not found, f"two lines of the table for {key}"
            unknown.append(key)
    return pieces, unknown, left_out


def _pattern(source: str) -> re.Pattern[str]:
    return re.compile(re.escape(source).replace(re.escape("{i}"), r"(?P<i>0|[1-9]\d*)"))


def check(pieces: list[Piece], unknown: list[str], abstract: Any) -> None:
    """Make sure that the pieces fill the parameters, each place once.

    Args:
      unknown: keys without a rule.
      abstract: the parameters' shapes, nested.

    Raises:
      ConfigError: one line with all that is wrong.
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
            wrong.append(f"{piece.key} has shape {list(piece.tensor.shape)} where the others ask for {list(shape)}")
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
            ("keys that belong to nothing", _grouped(unknown)),
            ("wrong shapes", wrong),
            ("parameters that nothing fills", missing),
        )
        if found
    ]
    if problems:
        raise ConfigError("; ".join(problems))


def _place(piece: Piece, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape of a piece's place in a parameter of this shape."""
    inner = shape if piece.layer is None else shape[1:]
    return (*inner[:-1], inner[-1] // piece.rule.part[1])


def _grouped(keys: list[str]) -> list[str]:
    """Keys, those that differ in one number only said once."""
    groups: dict[str, list[str]] = defaultdict(list)
    for key in keys:
        groups[re.sub(r"\.\d+\.", ".*.", key)].append(key)
    return [same[0] if len(same) == 1 else f"{name} ({len(same)} times)" for name, same in groups.items()]


def fill(pieces: list[Piece], abstract: Any) -> Any:
    """Read the tensors into parameters, float32 NumPy arrays in the structure of `abstract`.

    Each tensor is read, copied to its place and forgotten, so that a file needs the memory of its parameters and of a
    few tensors. The arrays are aligned as jax wants them, which takes them over without another copy on CPU.
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

    with ThreadPoolExecutor(2) as pool:  # copying waits for memory; more threads would only hold more tensors
        for done in [pool.submit(copy, piece) for piece in pieces]:
            done.result()
    return params


def _copy(source: np.ndarray, target: np.ndarray) -> None:
    if source.ndim != 2 or source.strides[-1] == source.itemsize:
        target[...] = source
        return
    for at in range(0, source.shape[1], STRIP):
        target[:, at : at + STRIP] = source[:, at : at + STRIP]


def _empty(shape: tuple[int, ...]) -> np.ndarray:
    size = 4 * int(np.prod(shape))
    raw = np.empty(size + ALIGNED, np.uint8)
    start = -raw.ctypes.data % ALIGNED
    return raw[start : start + size].view(np.float32).reshape(shape)


def _flat(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}/")
        else:
            yield prefix + name, value
