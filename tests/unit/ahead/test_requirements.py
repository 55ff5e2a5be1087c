"""Requirements of programs whose arithmetic and traffic are known; and lowering for TPU and CUDA."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jepa_jax import config as cfg
from jepa_jax.ahead import Requirements, present_target, requirements
from jepa_jax.ahead.requirements import _refused
from jepa_jax.config import Config
from jepa_jax.data import open_source
from jepa_jax.density import jacobian, trace_batch
from jepa_jax.matmuls import matmul_flops, matmul_work
from jepa_jax.resolve import resolve
from jepa_jax.sharding import abstract_parameters, data_mesh
from jepa_jax.training import make_trainer
from jepa_jax.training.cost import trace_step
from tests.helpers.maps import two_layers

A, B = jax.ShapeDtypeStruct((3, 5), jnp.float32), jax.ShapeDtypeStruct((5, 7), jnp.float32)
FLOPS = 2 * 3 * 5 * 7


def product(precision: Any, times: int = 1) -> Any:
    def f(a: jax.Array, b: jax.Array) -> jax.Array:
        one = lambda a: jnp.matmul(a, b, precision=precision)  # noqa: E731
        return jax.lax.map(one, jnp.stack([a] * times)) if times > 1 else one(a)

    return jax.make_jaxpr(f)(A, B).jaxpr


@pytest.mark.parametrize(
    ("precision", "platform", "work"),
    [
        (None, "tpu", {"bfloat16": 1}),
        ("highest", "tpu", {"bfloat16": 6}),
        ("BF16_BF16_F32_X3", "tpu", {"bfloat16": 3}),
        (None, "gpu", {"tf32": 1}),
        ("highest", "gpu", {"float32": 1}),
        ("TF32_TF32_F32_X3", "gpu", {"tf32": 3}),
        ("highest", "cpu", {"float32": 1}),
    ],
)
def test_arithmetic(precision: Any, platform: str, work: dict[str, int]) -> None:
    assert matmul_flops(product(precision)) == FLOPS
    assert matmul_work(product(precision), platform) == {name: n * FLOPS for name, n in work.items()}
    assert matmul_flops(product(precision, times=4)) == 4 * FLOPS


def of(f: Any, *shapes: Any, limit: int = 0, spec: P | None = None) -> Requirements:
    mesh = data_mesh(jax.devices()[:2])
    sharding = NamedSharding(mesh, P() if spec is None else spec)
    args = [jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=sharding) for a in shapes]
    return requirements(jax.jit(f).trace(*args), present_target(), 2, "a product", callback_limit=limit)


def test_memory_and_collectives() -> None:
    x = jax.ShapeDtypeStruct((64, 32), jnp.float32)
    found = of(lambda x: x.sum(0), x, spec=P("data"))
    assert found.memory["arguments"] == 64 * 32 * 4 // 2
    assert found.memory["peak"] >= found.memory["arguments"] + found.memory["outputs"]
    assert found.collectives == {"all-reduce": 1}
    assert found.callbacks == 0
    assert not found.heavy_traffic
    assert of(lambda x: 2 * x, x).collectives == {}


def test_callbacks() -> None:
    def f(x: jax.Array) -> jax.Array:
        one = lambda x: jax.pure_callback(np.sin, jax.ShapeDtypeStruct(x.shape, x.dtype), x)  # noqa: E731
        return one(one(x)[:2])

    x = jax.ShapeDtypeStruct((8,), jnp.float32)
    found = of(f, x, limit=64)
    assert (found.callbacks, found.callback_bytes) == (2, 2 * 8 * 4)
    assert not found.heavy_traffic
    assert of(f, x, limit=63).heavy_traffic


def test_whether_it_fits() -> None:
    found = of(lambda x: x + 1, A)
    peak = found.memory["peak"]
    for available, missing in ((None, 0), (peak, 0), (peak - 5, 5)):
        each = dataclasses.replace(found, available=available)
        assert (each.missing, each.fits) == (missing, not missing)
        assert each.to_dict()["fits"] == each.fits


@pytest.mark.parametrize(
    ("message", "memory"),
    [
        (
            "Ran out of memory in memory space hbm. Used 18.50G of 15.75G hbm. Exceeded by 2.75G.\n\n"
            "    reserved        258.00M \n    arguments         9.25G \n",
            {"arguments": int(9.25 * 2**30), "peak": int(18.5 * 2**30)},
        ),
        ("Allocation (size=160000) would exceed memory (size=1718) :: %s0", {"peak": 160000}),
        ("A tuple parameter that is being flattened shouldn't have frontend attributes", {}),
    ],
)
def test_refusals_of_a_compiler(message: str, memory: dict[str, int]) -> None:
    assert _refused(message) == memory


def test_the_same_program_has_the_same_digest() -> None:
    first, again, other = (of(lambda x, n=n: n * x, A).digest for n in (2, 2, 3))
    assert first == again != other


SMALL = Config(
    steps=20, data=cfg.Data(batch_size=32), encoder=cfg.MLP(widths=(16,), dim=8), objective=cfg.Objective("sigreg")
)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_public_programs_are_lowered_for_other_platforms(platform: str) -> None:
    """Each primitive has a rule there. That needs no compiler."""
    step = trace_step(SMALL, data_mesh(jax.devices()[:1]), 32)
    assert "dot_general" in step.traced.lower(lowering_platforms=(platform,)).as_text()
    kind = {"tpu": "tpu", "cuda": "gpu"}[platform]
    f, x = two_layers(8, 12), jax.ShapeDtypeStruct((12,), jnp.float32)
    exported = jax.export.export(jax.jit(lambda x: jacobian(f, x, platform=kind, memory=2**30)), platforms=[platform])
    assert exported(x).platforms == (platform,)


@pytest.mark.parametrize("options", [{}, {"mode": "forward"}, {"tangent_dim": 1}, {"values": False}])
@pytest.mark.parametrize("devices", [1, 2])
def test_a_batch_of_scores_is_traced_as_it_runs(options: dict[str, Any], devices: int) -> None:
    source = open_source(SMALL.data)
    trainer = make_trainer(resolve(SMALL, source), source)
    encoder = trainer.encoder(trainer.init())
    mesh = data_mesh(jax.devices()[:devices])
    x = jax.ShapeDtypeStruct(encoder.shape, jnp.float32)
    traced, size = trace_batch(encoder, abstract_parameters(encoder, mesh), x, 5, mesh=mesh, batch_size=4, **options)
    assert size == 4
    scores = jax.tree.leaves(traced.out_info)
    assert {a.shape[0] for a in scores} == {4}
