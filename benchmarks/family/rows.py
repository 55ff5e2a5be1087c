"""Rows: the config of each, what judges it, and the bar that it should reach."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from benchmarks.family.control import control
from benchmarks.family.judges import Judge, density, dynamics, probe, stems
from jepa_jax.config import Config, Cross, Curriculum, Mask, Masked, Objective, Optim, Pair, ViT, Windows
from train.config_files import find_config


class Row(NamedTuple):
    """Row of the benchmark.

    Attributes:
      system: Published system.
      config: Name of a config.
      judge: Judge of a trained cell.
      bar: What the median should reach.
      published: Whether the row also runs as published, without an anti-collapse term.
    """

    system: str
    config: str
    judge: Judge
    bar: str
    published: bool = True


ABOVE = "trained above raw, PCA and second order"
ROWS: dict[str, Row] = {
    "linear, distillation": Row("deep linear", "linear_jepa", dynamics, "off the equation <= 0.01", False),
    "linear, reconstruction": Row("deep linear", "linear_mae", dynamics, "off the equation <= 0.03", False),
    "diamonds": Row("T-JEPA", "diamonds_tjepa", probe, "trained >= raw + 0.03, untrained below raw"),
    "cart-pole": Row("TS-JEPA", "cartpole_tsjepa", control, "trained >= 0.8"),
    "beats": Row("ECG-JEPA", "beats_ecgjepa", partial(probe, shots=10, second_order=True), ABOVE),
    "vowels": Row("A-JEPA", "vowels_ajepa", partial(probe, shots=3), "trained >= 0.9"),
    "bold": Row("Brain-JEPA", "bold_brainjepa", partial(probe, second_order=True), "trained >= 0.7"),
    "processes": Row("Brain-JEPA", "processes_brainjepa", partial(probe, second_order=True), "trained >= 0.75"),
    "speckle": Row("SAR-JEPA", "speckle_sarjepa", partial(probe, shots=10), "trained >= 0.6"),
    "chorales": Row("Stem-JEPA", "chorales_stemjepa", stems, "R@1 >= 0.25, rank <= 0.03"),
}
DENSITY_WORLDS = ("sprites", "speckle", "processes")  # the quick ones first
DENSITY_RECIPES = ("masked", "masked and pair", "masked and halves", "pair")


def variants(name: str) -> dict[str, Config]:
    """Return the configs of a row: as published, by a teacher or fixed targets, and with an anti-collapse term."""
    row, config = ROWS[name], find_config(ROWS[name].config)[1]
    if not row.published:
        return {"published": config}
    bare, recipe = dataclasses.replace(config.objective, anti_collapse="none", weight=None), config.recipe
    if isinstance(recipe, Masked):
        recipe = dataclasses.replace(recipe, pair_weight=0.0, pair_of="noise")
    if name == "chorales":
        return {"ours": config, "published": token_by_token(config)}
    if name == "bold":
        return {"ours": config, "published": by_region(config)}
    if name == "processes":
        sigreg = Objective("sigreg", weight=0.01, num_slices=64)
        return {"ours": config, "with SIGReg": dataclasses.replace(config, objective=sigreg), "published": by_sensor()}
    # Pixels, gradients and samples cannot collapse.
    if isinstance(recipe, Masked | Pair) and recipe.target in ("tokens", "embedding") and not recipe.ema:
        recipe = dataclasses.replace(recipe, ema=0.99, ema_end=1.0)
    data = dataclasses.replace(config.data, neighbours=0, noise=0.0) if config.data.neighbours else config.data
    return {"ours": config, "published": dataclasses.replace(config, objective=bare, recipe=recipe, data=data)}


def token_by_token(config: Config) -> Config:
    """Return the row of chorales as Stem-JEPA: one MLP for each token, the teacher's as targets, no term."""
    assert isinstance(config.encoder, ViT)
    return dataclasses.replace(
        config,
        encoder=dataclasses.replace(config.encoder, readout="mean", dim=config.encoder.width),
        recipe=Pair(predictor=(256, 256), direction="forward", target="tokens", ema=0.99, ema_end=1.0),
        objective=Objective("none", distance="cosine"),
    )


def _rows_and_times(
    rows: tuple[float, float], times: tuple[float, float], asked: tuple[float, float], *, ema: float, width: int
) -> Masked:
    """Return the recipe of Brain-JEPA: rows and a run of times are hidden, in shares between these; a teacher."""
    mask = Cross(rows="subset", row_share=rows, columns="runs", column_share=times, asked_share=asked)
    return Masked(ema=ema, ema_end=1.0, mask=mask, predictor_width=width, predictor_depth=1)


def by_region(config: Config) -> Config:
    """Return the row of brain activity as Brain-JEPA: patches of one region, the teacher's as targets, no term."""
    assert isinstance(config.encoder, ViT)
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, batch_size=16, noise=0.0),
        encoder=dataclasses.replace(config.encoder, patch_size=(1, 16), row_positions="given"),
        recipe=_rows_and_times((0.45, 0.6), (0.2, 0.4), (0.2, 0.4), ema=0.996, width=24),
        objective=Objective("none", distance="smooth_l1"),
    )


def by_sensor() -> Config:
    """Return the row of processes as Brain-JEPA: patches of one sensor, the teacher's tokens as targets, no term."""
    config = find_config("processes_brainjepa")[1]
    assert isinstance(config.encoder, ViT)
    return dataclasses.replace(
        config,
        steps=1500,
        encoder=dataclasses.replace(config.encoder, patch_size=(1, 2), row_positions="learned"),
        recipe=_rows_and_times((0.25, 0.5), (0.25, 0.4), (0.5, 0.8), ema=0.99, width=48),
        objective=Objective("none", distance="smooth_l1"),
        optim=Optim(lr=2e-3),
    )


def density_config(world: str, recipe: str, term: bool) -> Config:
    """Return a small transformer on a world, trained by masked prediction, by a pair of views, or by both.

    The views are noisy, or the visible and the hidden half of the tokens.
    """
    named = {"speckle": "speckle_ajepa", "sprites": "sprites_ijepa"}
    config = by_sensor() if world == "processes" else find_config(named[world])[1]
    assert isinstance(config.recipe, Masked)
    chosen: Masked | Pair = config.recipe
    if recipe == "pair":
        chosen = Pair()
    elif recipe == "masked and pair":
        chosen = dataclasses.replace(config.recipe, pair_weight=1.0)
    elif recipe == "masked and halves":
        chosen = dataclasses.replace(config.recipe, pair_weight=1.0, pair_of="masks")
    objective = Objective("sigreg", weight=0.1, num_slices=64) if term else Objective("none")
    noise = 0.05 if world == "sprites" else 0.3
    data = dataclasses.replace(config.data, noise=noise)
    return dataclasses.replace(config, recipe=chosen, objective=objective, data=data, steps=min(config.steps, 600))


def mask_configs() -> dict[str, Config]:
    """Return the row of vowels as published, with each of its two laws of masks alone, both, and one without shape."""
    config = variants("vowels")["published"]
    assert isinstance(config.recipe, Masked)
    assert isinstance(config.recipe.mask, Curriculum)
    laws: dict[str, Mask] = {
        "blocks": config.recipe.mask.early,
        "cross": config.recipe.mask.late,
        "curriculum": config.recipe.mask,
        "any patches": Windows(size=6, share=0.6),  # of the grid of 6 x 6
    }
    return {name: _with_recipe(config, mask=law) for name, law in laws.items()}


def target_configs() -> dict[str, Config]:
    """Return the row of speckle as published, and with other targets."""
    config = variants("speckle")["published"]
    return {
        "four scales": config,
        "one scale": _with_recipe(config, scales=(1,)),
        "pixels": _with_recipe(config, target="pixels"),
        "tokens of a teacher": _with_recipe(config, target="tokens", normed=True, ema=0.99, ema_end=1.0),
    }


def _with_recipe(config: Config, **changes: Any) -> Config:
    return dataclasses.replace(config, recipe=dataclasses.replace(config.recipe, **changes))


Cell = tuple[Callable[[], Config], Judge]


def cells(name: str) -> dict[str, Cell]:
    """Return the cells of a row of the table, or of another part, by name."""
    if name in ABLATIONS:
        part = ABLATIONS[name]
        return {
            f"{name}: {variant}": (partial(_same, config), part.judge) for variant, config in part.configs().items()
        }
    if name != "density":
        return {
            f"{name}: {variant}": (partial(_same, config), ROWS[name].judge)
            for variant, config in variants(name).items()
        }
    return {
        f"density: {world}, {recipe}{', SIGReg' if term else ''}": (
            partial(density_config, world, recipe, term),
            density,
        )
        for world in DENSITY_WORLDS
        for recipe in DENSITY_RECIPES
        for term in (False, True)
    }


class Ablation(NamedTuple):
    """Changes of one part of a row: its name, the configs by the name of the change, and their judge."""

    row: str
    configs: Callable[[], dict[str, Config]]
    judge: Judge


ABLATIONS: dict[str, Ablation] = {
    "masks": Ablation("vowels", mask_configs, partial(probe, shots=3)),
    "targets": Ablation("speckle", target_configs, partial(probe, shots=10, twice=True)),
}


def _same(config: Config) -> Config:
    return config
