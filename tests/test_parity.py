"""Agreement with the paper's PyTorch listing. Needs torch: `make parity`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jepa_jax import config as cfg
from jepa_jax.density import score_samples
from jepa_jax.encoder import Encoder
from jepa_jax.models import build

torch = pytest.importorskip("torch")


def listing(model, x, eps=1e-6):
    """arXiv 2510.05949, listing 1: Jacobian of the batch-summed model, singular values, clip, log, sum."""
    jacobian = torch.autograd.functional.jacobian(lambda x: model(x).sum(0), inputs=x)
    with torch.no_grad():
        jacobian = jacobian.flatten(2).permute(1, 0, 2)
        return torch.linalg.svdvals(jacobian).clip_(eps).log_().sum(1)


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
    model = build(cfg.Encoder(widths=(32, 32), dim=dim, activation=activation), shape, output)
    params = model.init(key, 0.3, 2.0)
    encoder = Encoder(params, model.apply, shape, dim, None, model.null_directions)
    xs = jax.random.normal(jax.random.key(1), (7, *shape))
    act = {"gelu": torch.nn.GELU(approximate="tanh"), "tanh": torch.tanh}[activation]
    x = torch.tensor(np.asarray(xs, np.float64))
    theirs = listing(Peer(params, act, output == "sphere"), x).numpy()
    np.testing.assert_allclose(score_samples(encoder, xs), theirs, atol=2e-3)
    np.testing.assert_allclose(
        score_samples(encoder, xs, mode="forward"), score_samples(encoder, jnp.asarray(xs)), atol=1e-3
    )
