"""Numbers of blocks that are counted in chunks, as in DINOv2's training: blocks.CHUNK.INDEX instead of blocks.INDEX."""

import re
from collections import defaultdict
from collections.abc import Mapping
from typing import TypeVar

T = TypeVar("T")


def numbered(tensors: Mapping[str, T], container: str) -> dict[str, T]:
    """Return the tensors with their blocks counted through.

    Args:
      tensors: Tensors by key.
      container: Name before the numbers, such as `blocks`.

    Returns:
      The same if the blocks are not in chunks. In chunks, an index counts all blocks, as in Meta's code, or those of
      its chunk if the chunks have one size. If it is neither, nothing is changed, so that no gap is closed.
    """
    in_chunk = re.compile(rf"{re.escape(container)}\.(\d+)\.(\d+)\.(.*)")
    found = {key: match for key in tensors if (match := in_chunk.fullmatch(key))}
    if not found or any(key.startswith(f"{container}.") for key in tensors.keys() - found.keys()):
        return dict(tensors)
    number = _numbers(sorted({(int(match[1]), int(match[2])) for match in found.values()}))
    if number is None:
        return dict(tensors)

    def renamed(key: str) -> str:
        match = found.get(key)
        return key if match is None else f"{container}.{number[int(match[1]), int(match[2])]}.{match[3]}"

    return {renamed(key): tensor for key, tensor in tensors.items()}


def _numbers(pairs: list[tuple[int, int]]) -> dict[tuple[int, int], int] | None:
    """Return the number of each block, given by its chunk and its index, or None if it is not determined."""
    if len({index for _, index in pairs}) == len(pairs):
        return {pair: pair[1] for pair in pairs}
    chunks = defaultdict(list)
    for chunk, index in pairs:
        chunks[chunk].append(index)
    size = max(map(len, chunks.values()))
    for chunk, indices in enumerate(chunks.values()):
        last = chunk == len(chunks) - 1
        if chunk not in chunks or indices != list(range(len(indices))) or (len(indices) < size and not last):
            return None
    return {pair: number for number, pair in enumerate(pairs)}
