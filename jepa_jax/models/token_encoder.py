"""Tokeniser and transformer as one encoder: pure functions of the weights and one sample."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array

from jepa_jax.models.networks import at_least_float32
from jepa_jax.models.positions import GridPositions
from jepa_jax.models.tokens import Tokeniser
from jepa_jax.models.transformer import (
    Block,
    Params,
    Transformer,
    block_of,
    init_blocks,
    layer_norm,
    resized_positions,
    sincos_positions,
    through,
)
from jepa_jax.models.transformer_jacobian import jacobian_factor


@dataclass(frozen=True)
class TokenEncoder:
    """Encoder from a sample to its embedding.

    Attributes:
      tokeniser: Tokeniser, which maps a sample to tokens on a grid.
      body: Transformer over this grid.
      places: Positions by axis, in place of those of the body; or None.
    """

    tokeniser: Tokeniser
    body: Transformer
    places: GridPositions | None = None

    def init(self, key: Array, features: Array | None = None) -> Params:
        """Return random weights as a nested dict of arrays; those of the blocks are stacked, [depth, ...].

        Args:
          key: Key.
          features: Given numbers of each row of tokens, [rows, G], if positions are a map of them.

        Raises:
          ValueError: If the positions cannot have this width.
        """
        body, keys = self.body, jax.random.split(key, 6)
        norm = {"scale": jnp.ones(body.width), "bias": jnp.zeros(body.width)}
        placed = body.grid[0] * body.grid[1] + body.class_token
        params: Params = {
            "patch": self.tokeniser.init(keys[0]),
            "positions": 0.02 * jax.random.normal(keys[2], (placed, body.width)),
            "blocks": init_blocks(body, keys[3]),
            "norm": norm,
        }
        if self.places is not None:
            params["positions"] = self.places.init(keys[2], body.grid, body.width, features)
        elif body.positions == "sincos":  # the position of a class token is zero
            fixed = sincos_positions(body.grid, body.width)
            params["positions"] = jnp.asarray(np.concatenate([np.zeros_like(fixed[: int(body.class_token)]), fixed]))
        if body.class_token:
            params["class_token"] = 0.02 * jax.random.normal(keys[1], (1, body.width))
        if body.registers:
            params["registers"] = 0.02 * jax.random.normal(keys[4], (body.registers, body.width))
        if body.pre_norm:
            params["pre_norm"] = norm
        if body.projection:
            kernel = nnx.initializers.lecun_normal()(keys[5], (body.width, body.projection))
            params["projection"] = {"kernel": kernel}
        return params

    def apply(self, params: Params, x: Array) -> Array:
        """Return the embedding [K] of one sample."""
        depth, head = self.stages(params)
        scanned = jax.tree.map(lambda a: a[:depth], params["blocks"])
        return head(through(self.body, scanned, self.embed(params, x)))

    def encode(self, params: Params, x: Array, at: Array | None = None, valid: Array | None = None) -> Array:
        """Return tokens after the last layer norm and the projection.

        Args:
          params: Weights.
          x: One sample.
          at: Indices in the grid, [C], of the only tokens that pass through the blocks; None for all tokens.
          valid: Which entries of `at` are valid, [C]; no token attends to the others, which are padding.

        Returns:
          Tokens [C, K] or [rows * columns, K] of the grid, without the class token and registers.
        """
        body = self.body
        tokens = self.embed(params, x)
        if at is not None:
            tokens = jnp.concatenate([tokens[: body.prefix], tokens[body.prefix :][at]])
        if valid is not None:
            valid = jnp.concatenate([jnp.ones(body.prefix, bool), valid])
        tokens = layer_norm(params["norm"], through(body, params["blocks"], tokens, valid), body.norm_eps)
        tokens = tokens[body.prefix :]
        return tokens @ params["projection"]["kernel"] if body.projection else tokens

    def positions(self, params: Params) -> Array:
        """Return the positions of the class token, if there is one, and of the tokens of the grid, [N, D]."""
        if self.places is None:
            positions = params["positions"]
            return jax.lax.stop_gradient(positions) if self.body.positions == "sincos" else positions
        table = self.places.table(params["positions"], self.body.grid, self.body.width)
        return jnp.pad(table, ((int(self.body.class_token), 0), (0, 0)))  # that of a class token is zero

    def embed(self, params: Params, x: Array) -> Array:
        """Return the tokens before the first block: class token, registers and tokens of the grid, [N, D]."""
        tokens = self.place(params, x)
        return layer_norm(params["pre_norm"], tokens, self.body.norm_eps) if self.body.pre_norm else tokens

    def place(self, params: Params, x: Array) -> Array:
        """Return the tokens with their positions, [N, D]; for a sample of another size, these are interpolated."""
        body, first = self.body, int(self.body.class_token)
        tokens, grid = self.tokeniser(params["patch"], x), self.tokeniser.grid_of(x.shape)
        if body.class_token:
            tokens = jnp.concatenate([params["class_token"], tokens])
        positions = self.positions(params)
        if grid != body.grid:
            positions = resized_positions(positions, first, body.grid, grid)
        tokens = tokens + positions
        if body.registers:
            tokens = jnp.concatenate([tokens[:first], params["registers"], tokens[first:]])
        return tokens

    def stages(self, params: Params) -> tuple[int, Callable[[Array], Array]]:
        """Return the number of blocks through which all tokens pass, and the function of the rest: [N, D] -> [K].

        If only the class token is read, the last block belongs to the last part, because it needs only one query.
        """
        if self.body.pooling == "mean":
            return self.body.depth, lambda x: self._read(params, x[self.body.prefix :])
        last = jax.tree.map(lambda a: a[-1], params["blocks"])
        return self.body.depth - 1, lambda x: self._read(params, block_of(self.body)(last)(x, queries=1))

    def factor(
        self, params: Params, x: Array, chunk: int | None, platform: str, memory: int | None = None
    ) -> tuple[Array, Array]:
        """Return `jacobian_factor` of this network at one sample: the embedding [K] and a matrix [K, *]."""
        depth, head = self.stages(params)

        def block(i: Array) -> Block:  # a part of the stack would be copied for every sample
            one = jax.tree.map(lambda a: jax.lax.dynamic_index_in_dim(a, i, keepdims=False), params["blocks"])
            return block_of(self.body)(one)

        norm = partial(layer_norm, params["pre_norm"], eps=self.body.norm_eps) if self.body.pre_norm else None
        return jacobian_factor(
            block,
            depth,
            head,
            norm,
            self.place(params, x),
            params["patch"]["kernel"],
            self.body.prefix,
            self.body.dim,
            chunk,
            platform,
            memory,
        )

    def _read(self, params: Params, x: Array) -> Array:
        """Return the embedding [K] from the tokens that are read."""
        normed = layer_norm(params["norm"], x, self.body.norm_eps)
        z = jnp.mean(at_least_float32(normed), axis=0).astype(x.dtype)
        return z @ params["projection"]["kernel"] if self.body.projection else z
