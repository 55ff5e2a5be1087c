"""The seams hold: series of numbers are trained on with a tokeniser and a law of masks of their own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

import jepa_jax
from jepa_jax import config as cfg
from jepa_jax.masking import LAWS, Masks, pack
from jepa_jax.models.tokens import TOKENISERS


@dataclass(frozen=True)
class Frames:
    """Frames of a series [T, C], each through one linear map: one column of tokens."""

    shape: tuple[int, int]
    length: int
    width: int

    @property
    def grid(self) -> tuple[int, int]:
        return self.grid_of(self.shape)

    def grid_of(self, shape: tuple[int, ...]) -> tuple[int, int]:
        return shape[0] // self.length, 1

    def init(self, key: Array) -> dict[str, Any]:
        numbers = self.length * self.shape[1]
        return {"kernel": jax.random.normal(key, (numbers, self.width)) / numbers**0.5}

    def __call__(self, params: dict[str, Any], x: Array) -> Array:
        return x.reshape(self.grid_of(x.shape)[0], -1) @ params["kernel"]


@dataclass(frozen=True)
class Run:
    """One run of consecutive tokens is hidden, a longer one as training goes on."""

    length: int

    def check(self, grid: tuple[int, int]) -> None:
        if self.length >= grid[0]:
            raise ValueError(f"a run of {self.length} hides all of {grid[0]} tokens")

    def draw(self, key: Array, grid: tuple[int, int], progress: Array) -> Masks:
        start = jax.random.randint(key, (), 0, grid[0] - self.length + 1)
        length = jnp.where(progress < 0.5, 1, self.length)
        place = jnp.arange(grid[0])
        hidden = (place >= start) & (place < start + length)
        target, valid = pack(hidden, self.length)
        return Masks(*pack(~hidden, grid[0] - 1), target[None], valid[None])


@dataclass(frozen=True)
class RunOptions:
    """Their section of a config."""

    kind: str = "run"
    length: int = 3


@pytest.fixture
def series(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> cfg.Config:
    """Two tables get a line each; data and recipe are there."""
    frames = lambda options, shape: Frames(shape, options.patch_size, options.width)  # noqa: E731
    monkeypatch.setitem(TOKENISERS, "frames", frames)
    monkeypatch.setitem(LAWS, "run", lambda options: Run(options.length))
    draw = np.random.default_rng(0)
    phase, rate = draw.uniform(0, 6, (60, 1, 2)), draw.uniform(0.3, 0.6, (60, 1, 1))
    np.savez(tmp_path / "waves.npz", x=np.sin(rate * np.arange(24)[None, :, None] + phase).astype(np.float32))
    return cfg.Config(
        steps=60,
        data=cfg.Data(str(tmp_path / "waves.npz"), batch_size=16, noise=0.0),
        encoder=cfg.ViT(tokens="frames", patch_size=4, width=16, depth=1, heads=2),  # type: ignore[arg-type]
        recipe=cfg.Masked(mask=RunOptions(), ema=0.9, predictor_width=12, predictor_depth=1),  # type: ignore[arg-type]
        objective=cfg.Objective("none"),
        optim=cfg.Optim(lr=1e-2, warmup_steps=5),
    )


def test_a_series_is_trained_on_and_scored(series: cfg.Config) -> None:
    seen: list[dict[str, float]] = []
    encoder = jepa_jax.fit(series, callback=lambda step, metrics, encoder: seen.append(metrics), every=20)
    assert seen[-1]["prediction"] < seen[0]["prediction"]
    x = jnp.asarray(np.load(series.data.source)["x"][:3])
    assert encoder.shape == (24, 2)
    scores = jepa_jax.score_samples(encoder, x)
    assert np.isfinite(scores).all()


def test_a_law_gets_the_runs_progress(series: cfg.Config, key: jax.Array) -> None:
    early, late = (Run(3).draw(key, (6, 1), jnp.asarray(p)) for p in (0.0, 1.0))
    assert (int(early.targets_valid.sum()), int(late.targets_valid.sum())) == (1, 3)


def test_what_does_not_fit_is_one_line(series: cfg.Config) -> None:
    import dataclasses

    recipe = dataclasses.replace(series.recipe, mask=RunOptions(length=6))
    with pytest.raises(jepa_jax.ConfigError, match=r"`recipe\.mask`: a run of 6 hides all of 6 tokens"):
        jepa_jax.fit(dataclasses.replace(series, recipe=recipe))
