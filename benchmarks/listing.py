"""The paper's PyTorch listing, its Jacobians with torch.func, and our models in PyTorch.

The listing is listing 1 of arXiv 2510.05949.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

EPS = 1e-6
Model = Callable[[Tensor], Tensor]


def listing(model: Model, images: Tensor, eps: float = EPS) -> Tensor:
    """Return the paper's scores [B]: Jacobian of the batch-summed model, singular values, clip, log, sum.

    Args:
      model: Model [B, ...] -> [B, K].
      images: Samples [B, ...].
      eps: Smallest singular value; smaller ones are clipped to it.
    """
    return log_sum(listing_jacobian(model, images), eps)


def listing_jacobian(model: Model, images: Tensor) -> Tensor:
    """Return the Jacobians [B, K, D] of a model at samples [B, ...], the way the paper computes them."""
    J = torch.autograd.functional.jacobian(lambda x: model(x).sum(0), inputs=images)
    assert isinstance(J, Tensor)
    return J.flatten(2).permute(1, 0, 2)


def log_sum(J: Tensor, eps: float = EPS) -> Tensor:
    """Return the sums [B] of the logarithms of the clipped singular values of Jacobians [B, K, D]."""
    with torch.inference_mode():
        return torch.linalg.svdvals(J).clip_(eps).log_().sum(1)


def func_jacobian(
    model: Model, images: Tensor, chunk: int, together: bool, plain: bool = True, compiled: bool = False
) -> Tensor:
    """Return the Jacobians [B, K, D] at samples [B, ...] by reverse mode in chunks of outputs.

    Args:
      model: Model [B, ...] -> [B, K].
      images: Samples [B, ...].
      chunk: Number of outputs in a chunk.
      together: Whether all samples are computed together, instead of one by one.
      plain: Whether attention consists of matrix products and a softmax. The fused attention has no batching rule on
        CPU, where a chunk then runs output by output.
      compiled: Whether the function goes through torch.compile.
    """
    jacobian = torch.func.jacrev(lambda x: model(x[None])[0], chunk_size=chunk)
    with sdpa_kernel(SDPBackend.MATH) if plain else nullcontext():
        if together:
            many = torch.func.vmap(jacobian)
            return (torch.compile(many) if compiled else many)(images).flatten(2)
        one = torch.compile(jacobian) if compiled else jacobian
        return torch.stack([one(x).flatten(1) for x in images])


class ViT(nn.Module):
    """Vision transformer with our weights that returns its normalised class token: [B, 3, H, W] -> [B, K]."""

    def __init__(self, params: dict[str, Any], patch_size: int, heads: int) -> None:
        super().__init__()
        kernel, blocks = params["patch"]["kernel"], params["blocks"]
        depth, width = blocks["norm1"]["scale"].shape
        self.patch = nn.Conv2d(3, width, patch_size, patch_size)
        self.class_token = nn.Parameter(torch.tensor(params["class_token"]))
        self.positions = nn.Parameter(torch.tensor(params["positions"]))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        # The rows of our kernel are ordered (row, column, channel); a convolution's weight is [width, channel, row,
        # column].
        rows = kernel.T.reshape(width, patch_size, patch_size, 3)
        fill(self.patch, rows.transpose(0, 3, 1, 2), params["patch"]["bias"])
        fill(self.norm, params["norm"]["scale"], params["norm"]["bias"])
        for i, block in enumerate(self.blocks):
            for name, layer in block.named_children():
                stacked = blocks[name]
                weight = stacked["scale"][i] if "scale" in stacked else stacked["kernel"][i].T
                fill(layer, weight, stacked["bias"][i])

    def forward(self, images: Tensor) -> Tensor:
        """Return the embeddings [B, K] of images [B, 3, H, W]."""
        x = self.patch(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(len(x), 1, -1), x], dim=1) + self.positions
        return self.norm(self.blocks(x)[:, 0])


class Block(nn.Module):
    """Transformer block: attention and an MLP, each with a layer norm before it and a residual connection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.fc1 = nn.Linear(width, 4 * width)
        self.fc2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Transform tokens [B, N, K]."""
        b, n, width = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(b, n, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, n, width))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class Toy(nn.Module):
    """Our MLP onto the sphere, [B, D] -> [B, K], with the tanh approximation of GELU that jax.nn.gelu uses."""

    def __init__(self, params: dict[str, Any]) -> None:
        super().__init__()
        self.mean = nn.Parameter(torch.tensor(params["input"]["mean"]))
        self.scale = nn.Parameter(torch.tensor(params["input"]["scale"]))
        layers = params["network"]["network"]
        modules: list[nn.Module] = []
        for i in range(len(layers)):
            kernel, bias = layers[f"dense_{i}"]["kernel"], layers[f"dense_{i}"]["bias"]
            modules += [fill(nn.Linear(*kernel.shape), kernel.T, bias), nn.GELU(approximate="tanh")]
        self.network = nn.Sequential(*modules[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """Return the embeddings [B, K] of samples [B, D]."""
        return F.normalize(self.network((x - self.mean) / self.scale), dim=1)


def fill(layer: nn.Module, weight: np.ndarray, bias: np.ndarray) -> nn.Module:
    """Copy arrays into the weight and bias of a layer, and return the layer."""
    with torch.no_grad():
        for name, value in (("weight", weight), ("bias", bias)):
            parameter = layer.get_parameter(name)
            if parameter.shape != value.shape:
                raise ValueError(f"{name} of {layer} cannot hold {value.shape}")
            parameter.copy_(torch.tensor(np.ascontiguousarray(value)))
    return layer
