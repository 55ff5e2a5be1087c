"""Tensors of a file that are no part of the encoder: heads on top of it, and what lies beside it."""

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace

from jepa_jax.pretrained.tensor import printable
from jepa_jax.pretrained.towers import Entry, Tower, below_place, join

# Modules of training that may lie in the encoder itself, and whose names no part of an encoder has: of DINOv2, DINO and
# MoCo v3, iBOT, MSN and others.
TRAINING = re.compile(
    r"(dino_head|ibot_head|head\.\d+|head\.mlp|head\.last_layer|masked_embed|fc|projector|projection_head|proj_head"
    r"|predictor|prediction_head|criterion|loss|loss_fn|queue|n_averaged)(\..*)?"
)
MAX_LISTED = 50
# Linear maps from an encoder to the space that images and text share, by their names beside the encoder; and words that
# say of such a name that it is another map.
PROJECTION = re.compile(r"(\w+\.)?\w*proj(ection)?s?(\.weight)?|head\.mlp\.fc1\.weight")
OTHER_MAP = re.compile(r"text|txt|lang|caption|token|attn|attention|audio|predict|decoder|proj_?head|projection_head")


def without_heads(tower: Tower) -> tuple[Tower, dict[str, str]]:
    """Return an encoder without the heads of training on top of it, and these with the reason."""
    patterns = [rule.pattern for rule in tower.layout.rules]
    heads: dict[str, str] = {}
    names = dict(tower.names)
    for key in tower.names:
        head = TRAINING.fullmatch(key)
        if head is not None and not any(pattern.fullmatch(key) for pattern in patterns):
            heads[join(head[1], "*" if head[2] else "")] = "a head or another part that only training uses"
            del names[key]
    return replace(tower, names=names, tensors={key: tower.tensors[key] for key in names}), heads


def beside(tower: Tower, others: Mapping[str, Tower], names: Iterable[str]) -> dict[str, str]:
    """Return the tensors outside of an encoder, summarised, with the reason why they are left out.

    Args:
      tower: Encoder that is taken.
      others: Other encoders by their names.
      names: Full names of all tensors in the file.
    """
    own = set(tower.names.values())
    places = [(other.place, label) for label, other in others.items()]
    left_out: dict[str, str] = {}
    counts: dict[str, int] = defaultdict(int)
    for name in names:
        if name in own:
            continue
        label = next((label for place, label in places if below_place(name, place)), None)
        reason = _ignored(name, tower)
        if label is not None:
            left_out[printable(label)] = "another encoder, which `branch` takes"
        elif reason is not None:
            left_out[reason[0]] = reason[1]
        else:
            counts[_summary(name, tower.place)] += 1
    listed = sorted(counts)[:MAX_LISTED]
    for summary in listed:
        count = counts[summary]
        left_out[printable(summary)] = f"beside the encoder ({count} tensor{'s' if count > 1 else ''})"
    if len(counts) > MAX_LISTED:
        left_out["..."] = f"beside the encoder ({len(counts) - MAX_LISTED} modules more)"
    return left_out


def projection_note(tower: Tower, others: Mapping[str, Tower], entries: Mapping[str, Entry]) -> tuple[str, ...]:
    """Return a note on linear maps beside an encoder that may be its projection, and that are not applied; or ().

    Args:
      tower: Encoder that is taken.
      others: Other encoders by their names, whose maps are theirs.
      entries: All tensors of the file by their full names.
    """
    targets = {rule.target: rule for rule in tower.layout.rules}
    if "projection/kernel" in targets and targets["projection/kernel"].source in tower.tensors:
        return ()
    width = tower.tensors[targets["patch/kernel"].source].shape[0]
    parts, own = tower.place.split("."), set(tower.names.values()).union(*(t.names.values() for t in others.values()))
    found = []
    for name, entry in entries.items():
        if name in own or any(below_place(name, other.place) for other in others.values()) or _ignored(name, tower):
            continue
        # From each module around the encoder, of which the nearest is the place of such a map.
        keys = [name[len(around) :].lstrip(".") for around in _around(parts) if below_place(name, around)]
        side = -1 if name.endswith(".weight") else 0
        mapped = len(entry.tensor.shape) == 2 and entry.tensor.shape[side] == width
        if mapped and any(PROJECTION.fullmatch(key) and not OTHER_MAP.search(key) for key in keys):
            found.append(printable(name))
    if not found:
        return ()
    return (
        f"{', '.join(found[:3])} beside the encoder may be its projection to an embedding shared with text, and is not "
        "applied: the embedding is that of the encoder itself",
    )


def _around(parts: list[str]) -> list[str]:
    """Return the names of all modules around one with these parts of a name; none around the whole file."""
    return [".".join(parts[:depth]) for depth in range(len(parts))] if parts != [""] else []


def _ignored(name: str, tower: Tower) -> tuple[str, str] | None:
    """Return the expression of the layout, with the reason, by which a tensor of the whole model is left out."""
    for around in (tower.outer, tower.outer.rpartition(".")[0]):
        if below_place(name, around):
            key = name[len(around) :].lstrip(".")
            found = next((pair for pair in tower.layout.ignored if re.fullmatch(pair[0], key)), None)
            if found is not None:
                return found
    return None


def _summary(name: str, place: str) -> str:
    """Return the outermost module that contains a tensor and not the encoder."""
    parts, inside = name.split("."), place.split(".")
    depth = next((i for i, part in enumerate(parts) if i >= len(inside) or part != inside[i]), 0) + 1
    return ".".join(parts[:depth]) + (".*" if depth < len(parts) else "")
