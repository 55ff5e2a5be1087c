"""Live: timm's networks, directories and preprocessing against ours. Needs timm and torch: `make parity`."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import jepa_jax
from jepa_jax.errors import ConfigError
from jepa_jax.images.timm import from_timm
from jepa_jax.pretrained import Options, convert
from tests.helpers.scores import expected_scores

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")
peers = pytest.importorskip("tests.helpers.peers")
hub = pytest.importorskip("timm.models._hub")

pytestmark = pytest.mark.filterwarnings("default")  # those of the peers are theirs

TINY: dict[str, Any] = {"embed_dim": 24, "depth": 2, "num_heads": 3, "num_classes": 0}


def directory(model: Any, folder: Path) -> Path:
    """A directory, as timm uploads it."""
    hub.save_for_hf(model, folder, safe_serialization=True)
    return folder


def state_dict(model: Any, folder: Path) -> Path:
    """A bare file, with the projection head that VISReg publishes beside the backbone."""
    return peers.saved(model.state_dict() | {"proj.0.weight": torch.ones(2, 24)}, folder / "visreg-vit-b-inet1k.pth")


def tower(model: Any, folder: Path) -> Path:
    """A checkpoint of open_clip whose image tower is timm's; the projection leaves the embedding as it is."""
    state = {f"module.visual.trunk.{key}": value for key, value in model.state_dict().items()}
    state |= {"module.visual.head.proj.weight": torch.eye(24), "module.text.token_embedding.weight": torch.ones(3, 4)}
    return peers.saved({"epoch": 1, "state_dict": state}, folder / "epoch_1.pt")


@dataclass(frozen=True)
class Case:
    """A network of timm, in the file that people have of it, and the sizes at which it is compared."""

    name: str
    more: dict[str, Any] = field(default_factory=dict)
    save: Callable[[Any, Path], Path] = directory
    options: dict[str, Any] = field(default_factory=dict)
    sizes: tuple[Any, ...] = (28, 56)  # the first is native


CASES = {
    "dinov2": Case("vit_small_patch14_dinov2.lvd142m"),
    "dinov2 grey": Case("vit_small_patch14_dinov2.lvd142m", {"in_chans": 1}, sizes=(28,)),
    "dinov2 registers": Case("vit_small_patch14_reg4_dinov2.lvd142m"),
    "dinov2 giant": Case("vit_giant_patch14_reg4_dinov2.lvd142m", sizes=(28,)),
    "dinov2 wide": Case("vit_small_patch14_dinov2.lvd142m", {"img_size": (28, 42)}, sizes=((28, 42),)),
    "dinov2 mean": Case("vit_small_patch14_dinov2.lvd142m", {"global_pool": "avg", "fc_norm": False}, sizes=(28,)),
    "ijepa": Case("vit_huge_patch14_gap_224.in1k_ijepa"),
    "dino": Case("vit_small_patch8_224.dino", sizes=(16,)),
    "visreg": Case("vit_base_patch16_224", save=state_dict, options={"heads": 3}, sizes=(32, 48)),
    "mean": Case("vit_base_patch16_224.augreg_in21k", {"global_pool": "avg", "fc_norm": False}, sizes=(32,)),
    "open_clip": Case("vit_base_patch16_224", save=tower, options={"heads": 3}, sizes=(32, 16)),
}


def network(case: Case) -> Any:
    """The network with random weights."""
    options = {"img_size": case.sizes[0], **TINY, **case.more}
    return peers.randomised(timm.create_model(case.name, pretrained=False, **options), 0.2)


def pooled(model: Any, images: Any) -> Any:
    """What timm's documentation names the features of an image."""
    return model.forward_head(model.forward_features(images), pre_logits=True)


@pytest.mark.parametrize("name", CASES)
def test_tiny(name: str, tmp_path: Path) -> None:
    """Embeddings within 1e-4 of the largest number, scores within 0.05 nats of the listing in float64."""
    case = CASES[name]
    model = network(case)
    path = case.save(model, tmp_path / "m")
    for size in case.sizes:
        height, width = size if isinstance(size, tuple) else (size, size)
        shape = (2, height, width, model.in_chans)
        xs = np.random.default_rng(height).standard_normal(shape, np.float32)
        encoder = jepa_jax.load(path, image_size=None if size is case.sizes[0] else size, **case.options)
        assert encoder.shape == shape[1:]
        model.float().set_input_size((height, width))
        model.double()
        images = torch.tensor(xs.transpose(0, 3, 1, 2), dtype=torch.float64)
        z = pooled(model, images).detach().numpy()
        J = torch.autograd.functional.jacobian(lambda x: pooled(model, x).sum(0), inputs=images)
        sigma = torch.linalg.svdvals(J.flatten(2).permute(1, 0, 2)).numpy()
        found = next(jepa_jax.score_batches(encoder, jnp.asarray(xs)))
        assert np.abs(found.embedding - z).max() <= 1e-4 * np.abs(z).max()
        assert np.abs(found.score - expected_scores(sigma, encoder)).max() <= 0.05


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("vit_small_patch14_dinov2.lvd142m", "dinov2"),
        ("vit_huge_patch14_gap_224.in1k_ijepa", "ijepa"),
        ("vit_small_patch8_224.dino", "vit"),
        ("vit_base_patch16_siglip_gap_224.webli", None),
        ("vit_base_patch16_siglip_224.webli", None),
        ("vit_base_patch16_224.mae", None),
        ("vit_base_patch16_clip_224.openai", None),
    ],
)
def test_the_family_is_the_one_that_the_directory_names(name: str, family: str | None, tmp_path: Path) -> None:
    size = 2 * timm.models.get_pretrained_cfg_value(name, "input_size")[-1] // 112 * 28
    path = directory(timm.create_model(name, pretrained=False, img_size=size, **TINY), tmp_path / "m")
    if family is None:
        with pytest.raises(ConfigError, match=r"config.json describes .*which is not read"):
            convert(path)
    else:
        assert convert(path).origin["family"] == family


SIZES = [(64, 64), (64, 48), (37, 101), (101, 37), (300, 225), (19, 23), (31, 400)]
RECIPES = {
    "dinov2": {"input_size": (3, 56, 56), "crop_pct": 1.0},
    "vit": {"input_size": (3, 32, 32), "crop_pct": 0.9, "mean": (0.5,) * 3, "std": (0.5,) * 3},
    "bilinear": {"input_size": (3, 32, 32), "crop_pct": 0.875, "interpolation": "bilinear"},
    "squash": {"input_size": (3, 32, 32), "crop_pct": 0.9, "crop_mode": "squash"},
    "wide": {"input_size": (3, 28, 42), "crop_pct": 0.9},
    "high": {"input_size": (3, 42, 28), "crop_pct": 1.0},
    "wide squash": {"input_size": (3, 28, 42), "crop_pct": 0.95, "crop_mode": "squash"},
}


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", RECIPES)
def test_preprocessing(name: str, size: tuple[int, int]) -> None:
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8))
    recipe = RECIPES[name]
    transform = timm.data.create_transform(**timm.data.resolve_data_config({}, pretrained_cfg=recipe))
    expected = transform(picture).numpy().transpose(1, 2, 0)
    np.testing.assert_allclose(from_timm(recipe)(picture), expected, atol=2e-6 * np.abs(expected).max())


def test_the_preprocessing_of_a_directory(tmp_path: Path) -> None:
    model = network(CASES["dinov2"])
    recipe = convert(directory(model, tmp_path / "m"), Options()).preprocessing
    data = timm.data.resolve_data_config({}, model=model)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8))
    expected = timm.data.create_transform(**{**data, "input_size": (3, 28, 28)})(picture).numpy().transpose(1, 2, 0)
    assert recipe is not None
    np.testing.assert_allclose(recipe(picture), expected, atol=1e-5)
