"""Search for the encoders in a file of weights, wherever they lie: below any prefix, in dicts inside dicts, or both.

The names of all tensors form one set, in which the path of a dict and the key in it are joined by a dot. An encoder is
found by the name of its patch embedding in each layout: what precedes that name is the place of the encoder, and the
other marks of the layout must lie there, too.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from jepa_jax.errors import ConfigError
from jepa_jax.pretrained.blocks import numbered
from jepa_jax.pretrained.family import Family, Layout
from jepa_jax.pretrained.reading import Weights
from jepa_jax.pretrained.tensor import Tensor, printable

# Parts of a name that wrappers of modules insert anywhere; with another meaning they do not occur.
WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")
MAX_ATTEMPTS = 200  # to read an encoder in one file; each looks at all names below its place


class Entry(NamedTuple):
    """Tensor of a file with the path of its dict and its key there, as they stand in the file."""

    group: str
    key: str
    tensor: Tensor


@dataclass(frozen=True)
class Tower:
    """Encoder in a file, as one layout describes it.

    Attributes:
      family: Family of the layout.
      layout: Layout.
      outer: What precedes the keys of the layout in the full names of the tensors, without wrappers and the last dot.
      prefix: Prefix of the keys in the dict that holds them, as it stands in the file.
      tensors: Tensors by the keys of the layout.
      names: Full names of these tensors, by the keys of the layout.
    """

    family: Family
    layout: Layout
    outer: str
    prefix: str
    tensors: Mapping[str, Tensor]
    names: Mapping[str, str]

    @property
    def place(self) -> str:
        """Full name of the module that is the encoder; "" if that is the whole file."""
        return join(self.outer, self.layout.home)


def join(*parts: str) -> str:
    """Return a full name of its parts, of which some may be empty."""
    return ".".join(part for part in parts if part)


def bare(name: str) -> str:
    """Return a full name without wrappers."""
    return ".".join(part for part in name.split(".") if part not in WRAPPERS)


def entries_of(weights: Weights) -> dict[str, Entry]:
    """Return all tensors by their full names, without wrappers."""
    entries: dict[str, Entry] = {}
    for group, tensors in weights.groups.items():
        for key, tensor in tensors.items():
            name = join(group, key)
            entries[name if bare(name) in entries else bare(name)] = Entry(group, key, tensor)
    return entries


def find_towers(weights: Weights, families: Iterable[Family]) -> list[Tower]:
    """Return the encoders of these families in a file.

    Where several layouts describe one encoder, it is in that which describes most of the names around it, and of those
    the first.

    Raises:
      ConfigError: If the file has more encoders than any model has.
    """
    entries = entries_of(weights)
    order = sorted(entries)
    found: dict[str, Tower] = {}  # by the full name of the patch embedding
    attempts = 0
    for family in families:
        for layout in family.layouts:
            source = layout.sources("patch/kernel")[0]
            for patch in [name for name in entries if f".{name}".endswith(f".{source}")]:
                outer = patch[: -len(source)].rstrip(".")
                if patch in found and len(found[patch].outer) <= len(outer):
                    continue
                if not all(join(outer, key) in entries for key in layout.mark if not key.startswith(_blocks(layout))):
                    continue
                attempts += 1
                if attempts > MAX_ATTEMPTS:
                    raise ConfigError(f"{weights.name} holds more encoders than a model has; save one of them")
                tower = _tower(family, layout, outer, patch, entries, order)
                if tower is not None:
                    found[patch] = tower
    return [_without_inner(tower, found.values()) for tower in found.values()]


def check_tensors(tower: Tower, weights: Weights) -> None:
    """Check that each entry that the encoder needs is a tensor.

    Raises:
      ConfigError: If one is an object whose code would have to be run.
    """
    for name, kind in weights.others.items():
        key = bare(name)[len(tower.outer) :].lstrip(".")
        if join(tower.outer, key) == bare(name) and any(rule.pattern.fullmatch(key) for rule in tower.layout.rules):
            raise ConfigError(
                f"{printable(name)} of {weights.name} is no plain tensor but {printable(kind)}, whose code is not "
                "run; load the file with torch and save its state_dict()"
            )


def _tower(
    family: Family, layout: Layout, outer: str, patch: str, entries: Mapping[str, Entry], order: list[str]
) -> Tower | None:
    """Return the encoder at a place, or None if its keys are not those of the layout."""
    group = entries[patch].group
    below = [name for name in _below(order, join(outer, layout.home)) if entries[name].group == group]
    names = {name[len(outer) :].lstrip("."): name for name in below}
    for key in layout.beside:
        above = join(outer.rpartition(".")[0], key)
        if outer and key not in names and above in entries:
            names[key] = above
    names = numbered(names, _blocks(layout))
    if not all(key in names for key in layout.mark) or any(key in names for key in layout.without):
        return None
    tensors = {key: entries[name].tensor for key, name in names.items()}
    return Tower(family, layout, outer, _prefix(entries[patch], patch[len(outer) :].lstrip(".")), tensors, names)


def _blocks(layout: Layout) -> str:
    """Return the name before the numbers of the blocks."""
    return layout.sources("blocks/norm1/scale")[0].partition(".{i}")[0]


def _without_inner(tower: Tower, towers: Iterable[Tower]) -> Tower:
    """Return an encoder without the tensors of others that lie inside it, such as those of its moving average."""
    inner = [f"{t.place}." for t in towers if len(t.place) > len(tower.place) and below_place(t.place, tower.place)]
    names = {key: name for key, name in tower.names.items() if not name.startswith(tuple(inner))}
    return replace(tower, names=names, tensors={key: tower.tensors[key] for key in names})


def below_place(name: str, place: str) -> bool:
    """Return whether a full name lies below a place."""
    return not place or name.startswith(f"{place}.")


def _below(order: list[str], place: str) -> list[str]:
    """Return the names below a place, of all names in order."""
    if not place:
        return order
    start, end = (bisect_left(order, f"{place}{mark}") for mark in "./")  # a slash follows the dot
    return order[start:end]


def _prefix(entry: Entry, source: str) -> str:
    """Return the prefix of a key in its dict: what precedes the key of the layout, and wrappers there."""
    parts = join(entry.group, entry.key).split(".")
    wanted = source.count(".") + 1
    while wanted:
        wanted -= parts.pop() not in WRAPPERS
    inside = parts[entry.group.count(".") + 1 if entry.group else 0 :]
    return "".join(f"{part}." for part in inside)
