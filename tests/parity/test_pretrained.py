"""Live: foreign weights in transformers and PyTorch against ours. Needs both: `make parity`."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jepa_jax
from jepa_jax.pretrained.positions import resize_positions
from tests.helpers.scores import expected_scores

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
peers = pytest.importorskip("tests.helpers.peers")

pytestmark = pytest.mark.filterwarnings("default")  # those of the peers are theirs


@pytest.fixture(autouse=True)
def one_thread_is_not_enough():
    """PyTorch takes as many threads as it likes; its progress bars say nothing here."""
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


@pytest.mark.parametrize("side", [peers.NATIVE, *peers.OTHERS])
@pytest.mark.parametrize("name", peers.CASES)
def test_tiny(name: str, side: int, tmp_path: Path):
    """Embeddings within 1e-4 of the largest number, scores within 0.05 nats of the listing in float64."""
    case = peers.CASES[name]
    model = peers.randomised(case.make(), 0.3)
    path = case.save(model, tmp_path / "m")
    encoder = jepa_jax.load(path, image_size=side, **dict(case.options))
    z, sigma = peers.expected(case, model, side)
    found = next(jepa_jax.score_batches(encoder, jnp.asarray(peers.images(side))))
    assert np.abs(found.embedding - z).max() <= 1e-4 * np.abs(z).max()
    assert np.abs(found.score - expected_scores(sigma, encoder)).max() <= 0.05


@pytest.mark.parametrize("kind", ["bicubic", "bicubic-offset", "bicubic-antialias"])
@pytest.mark.parametrize(("native", "side"), [(37, 16), (37, 7), (16, 32), (14, 16), (37, 38), (7, 3)])
def test_positions(kind: str, native: int, side: int):
    positions = np.random.default_rng(0).standard_normal((1 + native**2, 5)).astype(np.float32)
    grid = torch.tensor(positions[1:]).T.reshape(1, 5, native, native)
    resize = {
        "bicubic": lambda g, s: torch.nn.functional.interpolate(g, size=(s, s), mode="bicubic"),
        "bicubic-offset": peers.offset,
        "bicubic-antialias": peers.antialiased,
    }[kind]
    theirs = resize(grid, side).reshape(5, -1).T.numpy()
    np.testing.assert_allclose(
        resize_positions(positions, 1, (native, native), (side, side), kind)[1:], theirs, atol=3e-5
    )


@pytest.mark.parametrize("side", [peers.NATIVE, *peers.OTHERS])
def test_a_plain_vision_transformer(side: int, tmp_path: Path):
    """As DINO's weights are distributed by Hugging Face."""
    sizes = {**peers.SIZES, **peers.IMAGE, "intermediate_size": 4 * peers.WIDTH}
    network = transformers.ViTModel(transformers.ViTConfig(**sizes), add_pooling_layer=False)
    model = peers.randomised(network, 0.3)
    model.save_pretrained(tmp_path / "m")
    xs = peers.images(side)
    z = model.double()(peers.torch_images(xs), interpolate_pos_encoding=True).last_hidden_state[:, 0].detach().numpy()
    encoder = jepa_jax.load(tmp_path / "m", image_size=side)
    assert np.abs(jax.vmap(encoder)(jnp.asarray(xs)) - z).max() <= 1e-4 * np.abs(z).max()


def real_size(name: str):
    """A network of a published size with random weights, made without its slow initialisation."""
    config, kind = {
        "vits14": (
            transformers.Dinov2Config(
                hidden_size=384, num_hidden_layers=12, num_attention_heads=6, image_size=518, patch_size=14
            ),
            transformers.Dinov2Model,
        ),
        "b16": (
            transformers.CLIPVisionConfig(
                hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
                image_size=224, patch_size=16, projection_dim=512,
            ),
            transformers.CLIPVisionModelWithProjection,
        ),
        "vith14": (
            transformers.IJepaConfig(
                hidden_size=1280, num_hidden_layers=32, num_attention_heads=16, intermediate_size=5120,
                image_size=224, patch_size=14, layer_norm_eps=1e-6,
            ),
            transformers.IJepaModel,
        ),
    }[name]  # fmt: skip
    with transformers.initialization.no_init_weights():
        model = kind(config)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            gain = parameter.ndim == 1 and (("norm" in key and key.endswith("weight")) or "lambda" in key)
            # Wide enough that attention is not even, narrow enough that nothing grows over the blocks.
            parameter.normal_(1.0 if gain else 0.0, 0.2 if gain else 0.03, generator=generator)
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sides", "embed"),
    [
        ("vits14", (224, 518), peers.class_token),
        ("b16", (224, 288), peers.projected),
        ("vith14", (224,), peers.patches_mean),
    ],
)
def test_real_sizes(name: str, sides: tuple[int, ...], embed, tmp_path: Path):
    model = real_size(name)
    model.save_pretrained(tmp_path / "m")
    for side in sides:
        xs = peers.images(side, 1)
        with torch.no_grad():
            z = embed(model, torch.tensor(xs.transpose(0, 3, 1, 2))).numpy()
        encoder = jepa_jax.load(tmp_path / "m", image_size=side)
        ours = np.asarray(jax.jit(lambda e, x: e(x))(encoder, jnp.asarray(xs[0])))
        assert np.abs(ours - z[0]).max() <= 1e-4 * np.abs(z).max()


@pytest.mark.slow
def test_the_score_of_a_real_size(tmp_path: Path):
    """A ViT-S/14 at 98 px against the listing in float64."""
    model = real_size("vits14")
    model.save_pretrained(tmp_path / "m")
    encoder = jepa_jax.load(tmp_path / "m", image_size=98)
    xs = peers.images(98, 1)
    model = model.double()
    x = peers.torch_images(xs).requires_grad_()
    z = peers.class_token(model, x)[0]
    rows = [torch.autograd.grad(z, x, torch.eye(len(z), dtype=z.dtype)[i], retain_graph=True)[0] for i in range(len(z))]
    sigma = torch.linalg.svdvals(torch.stack(rows).reshape(1, len(z), -1)).numpy()
    found = next(jepa_jax.score_batches(encoder, jnp.asarray(xs)))
    assert np.abs(found.score - expected_scores(sigma, encoder)).max() <= 0.05
