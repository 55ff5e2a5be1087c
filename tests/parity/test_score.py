"""Agreement with the paper's PyTorch listing. Needs torch: `make parity`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks.score_speed import random_vit
from jepa_jax import config as cfg
from jepa_jax.density import score_samples
from jepa_jax.encoder import Encoder
from jepa_jax.models import build
from jepa_jax.models.vit import ViT, vit_encoder

torch = pytest.importorskip("torch")
peers = pytest.importorskip("benchmarks.listing")


class Peer(torch.nn.Module):
    """Our MLP in float64, with our weights."""

    def __init__(self, params, activation, sphere):
        super().__init__()
        self.fixed = {k: torch.tensor(np.asarray(v, np.float64)) for k, v in params["input"].items()}
        layers = params["network"]["network"]
        self.weights = [
            tuple(torch.tensor(np.asarray(layers[f"dense_{i}"][k], np.float64)) for k in ("kernel", "bias"))
            for i in range(len(layers))
        ]
        self.activation, self.sphere = activation, sphere

    def forward(self, x):
        h = ((x - self.fixed["mean"]) / self.fixed["scale"]).flatten(1)
        for i, (kernel, bias) in enumerate(self.weights):
            h = h @ kernel + bias
            if i + 1 < len(self.weights):
                h = self.activation(h)
        return h / h.norm(dim=1, keepdim=True) if self.sphere else h


@pytest.mark.parametrize(("shape", "dim"), [((2,), 16), ((8,), 8), ((6, 6, 1), 12)])
@pytest.mark.parametrize("output", ["free", "sphere"])
@pytest.mark.parametrize("activation", ["gelu", "tanh"])
def test_score_equals_the_listing(shape, dim, output, activation, key):
    model = build(cfg.MLP(widths=(32, 32), dim=dim, activation=activation), shape, output)
    params = model.init(key, 0.3, 2.0)
    encoder = Encoder(params, model.apply, shape, dim, None, model.null_directions)
    xs = jax.random.normal(jax.random.key(1), (7, *shape))
    act = {"gelu": torch.nn.GELU(approximate="tanh"), "tanh": torch.tanh}[activation]
    x = torch.tensor(np.asarray(xs, np.float64))
    theirs = peers.listing(Peer(params, act, output == "sphere"), x).numpy()
    np.testing.assert_allclose(score_samples(encoder, xs), theirs, atol=2e-3)
    np.testing.assert_allclose(
        score_samples(encoder, xs, mode="forward"), score_samples(encoder, jnp.asarray(xs)), atol=1e-3
    )


VIT = ViT(image_size=28, patch_size=7, width=24, depth=3, heads=3)


def vit_peers(count):
    """Our ViT and PyTorch's in float64 with the same weights, and the same images for each."""
    config = {"image_size": 28, "patch_size": 7, "width": 24, "depth": 3, "heads": 3}
    params = random_vit(np.random.default_rng(0), **config)
    images = np.random.default_rng(1).standard_normal((count, 28, 28, 3), np.float32)
    peer = peers.ViT(params, VIT.patch_size, VIT.heads).double()
    theirs = torch.tensor(images.transpose(0, 3, 1, 2), dtype=torch.float64)
    return vit_encoder(VIT, jax.tree.map(jnp.asarray, params)), peer, jnp.asarray(images), theirs


def test_vit_embedding_equals_pytorch():
    encoder, peer, xs, images = vit_peers(3)
    with torch.no_grad():
        np.testing.assert_allclose(jax.vmap(encoder)(xs), peer(images).numpy(), atol=2e-4, rtol=1e-5)


def test_vit_score_equals_the_listing():
    encoder, peer, xs, images = vit_peers(3)
    sigma = torch.linalg.svdvals(peers.listing_jacobian(peer, images))
    assert encoder.null_directions == 2
    assert sigma[:, -2:].max() < 1e-5 < 1e-3 < sigma[:, -3].min()
    # One of the two is exactly null, the other only up to the norm's epsilon: at this eps the listing clips both.
    np.testing.assert_allclose(score_samples(encoder, xs, eps=1e-4), peers.listing(peer, images, 1e-4), atol=2e-3)


def test_the_peers_compute_one_jacobian():
    _, peer, _, images = vit_peers(2)
    expected = peers.listing_jacobian(peer, images).numpy()
    for together in (False, True):
        np.testing.assert_allclose(peers.func_jacobian(peer, images, 5, together).detach().numpy(), expected, atol=1e-9)
