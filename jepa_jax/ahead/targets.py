"""Devices that a program can be compiled for, whether or not this machine has them.

A TPU's compiler is libtpu and a GPU's is the CUDA plugin of JAX. Both compile for a description of a device.
"""

import importlib.util
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import jax
from jax.errors import JaxRuntimeError
from jax.experimental import topologies

from jepa_jax.errors import ConfigError, first_line, nearest
from jepa_jax.memory import available

GIB = 2**30
GPU_SHARE = 0.75  # share of a GPU's memory that JAX takes unless XLA_PYTHON_CLIENT_MEM_FRACTION says another


@dataclass(frozen=True)
class Chip:
    """Kind of device, with the figures of its data sheet.

    Attributes:
      platform: `cpu`, `gpu` or `tpu`.
      memory: Bytes that a program may use, which are fewer than the device has; None if unknown.
      rates: FLOP/s of dense matrix products at the peak, by the format of the factors; {} if unknown.
      described: Fields of the description that XLA's compiler for GPUs takes.
    """

    platform: str
    memory: int | None
    rates: Mapping[str, float] = field(default_factory=dict)
    described: Mapping[str, Any] = field(default_factory=dict)


def _tpu(memory_gib: float, bfloat16: float) -> Chip:
    return Chip("tpu", int(memory_gib * GIB), {"bfloat16": bfloat16})


def _hopper(name: str, memory: int, bandwidth: float) -> Chip:
    rates = {"bfloat16": 989e12, "float16": 989e12, "tf32": 495e12, "float32": 67e12, "float64": 67e12}
    described = {"name": name, "memory": memory, "bandwidth": int(bandwidth)}
    return Chip("gpu", int(GPU_SHARE * memory), rates, described)


# The memory of a TPU is what its compiler leaves to a program. A chip of tpu7x is two devices, and these are one's.
CHIPS = {
    "v5e": _tpu(15.75, 197e12),
    "v6e": _tpu(31.25, 918e12),
    "v5p": _tpu(95.74, 459e12),
    "tpu7x": _tpu(94.75, 1153e12),
    "h100": _hopper("NVIDIA H100 80GB HBM3", 84_942_979_072, 3.35e12),
    "h200": _hopper("NVIDIA H200", 151_397_597_184, 4.8e12),
}
EXAMPLES = ("v5e:2x4", "v6e:2x2", "v5p:2x2x1", "tpu7x:2x2x1", "h100", "h100x8", "h200", "h200x8")
# Names as clouds sell slices, such as v5litepod-8 and v5p-8, whose number counts the TensorCores.
SOLD = r"(v5litepod|v5lite|v5e|v6e|v5p|tpu7x|v7x|h100|h200)(?:\D*(\d+))?"
SOLD_KINDS = {"v5litepod": "v5e", "v5lite": "v5e", "v7x": "tpu7x"}
TENSOR_CORES = {"v5p": 2, "tpu7x": 2}  # of a chip, of which clouds count more than one
SYNTAX = r"(v5e|v6e):(\d+x\d+)|(v5p|tpu7x):(\d+x\d+x\d+)|(h100|h200)(?:x([1-8]))?"

# XLA's description of a Hopper GPU (its `GpuTargetConfigProto`), from NVIDIA's data sheet and programming guide.
HOPPER = """
gpu_device_info {{
  cuda_compute_capability {{ major: 9 minor: 0 feature_extension: ACCELERATED_FEATURES }}
  core_count: 132 fpus_per_core: 128 clock_rate_ghz: 1.98
  threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  registers_per_block_limit: 65536 registers_per_core_limit: 65536
  shared_memory_per_block: 49152 shared_memory_per_block_optin: 232448 shared_memory_per_core: 233472
  l2_cache_size: 52428800 memory_bandwidth: {bandwidth} device_memory_size: {memory}
}}
platform_name: "CUDA"
dnn_version_info {{ major: 9 minor: 8 }}
device_description_str: "{name}"
"""

# libtpu looks for the TPU of its own machine, for other processes that hold it, and for a place to complain.
TPU_ENVIRONMENT = {
    "TPU_SKIP_MDS_QUERY": "1",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-8",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_STDERR_LOG_LEVEL": "4",
    "TPU_MIN_LOG_LEVEL": "4",
}


@dataclass(frozen=True)
class Target:
    """Devices that a program is compiled for.

    Attributes:
      name: Name, as in `--target`.
      chip: Figures of each device.
      topology: Their arrangement, in the words of JAX; "" for the devices of this process.
    """

    name: str
    chip: Chip
    topology: str = ""

    @property
    def memory(self) -> int | None:
        """Bytes of each device, if it is not one of this process."""
        return self.chip.memory if self.topology else None


def find_target(name: str) -> Target:
    """Return the devices with a name such as `v5e:2x4` or `h100x8`.

    Raises:
      ConfigError: If the name is unknown; the message names the nearest one.
    """
    match = re.fullmatch(SYNTAX, name)
    if match is None:
        meant = _meant(name)
        raise ConfigError(
            f"`target` cannot be {name!r}{nearest(name, EXAMPLES) if meant is None else f'; did you mean {meant}?'}"
        )
    kind = match[1] or match[3] or match[5]
    shape = match[2] or match[4]
    return Target(name, CHIPS[kind], f"{kind}:{shape}" if shape else f"1x1x{match[6] or 1}")


def _meant(name: str) -> str | None:
    """Return the target that a name of a slice as clouds sell it stands for, or a usual one of its kind, or None."""
    match = re.fullmatch(SOLD, name.lower())
    if match is None:
        return None
    kind = SOLD_KINDS.get(match[1], match[1])
    chips = int(match[2] or 0) // TENSOR_CORES.get(kind, 1)
    if kind in ("h100", "h200"):
        return f"{kind}x{chips}" if 1 < chips <= 8 else kind
    power = chips.bit_length() - 1
    if chips < 1 or chips != 1 << power:
        return next(example for example in EXAMPLES if example.startswith(kind))
    axes = 3 if kind in ("v5p", "tpu7x") else 2
    sides = [1 << (power + axis) // axes for axis in range(axes)]  # as equal as powers of two can be
    return f"{kind}:{'x'.join(map(str, sorted(sides, reverse=axes == 3 and chips < 8)))}"


def present_target() -> Target:
    """Return the devices of this process."""
    device = jax.devices()[0]
    return Target(device.device_kind, Chip(device.platform, available(device.platform)))


def open_target(target: Target) -> list[Any]:
    """Return the devices of a target, which may be in a mesh but cannot hold arrays.

    This process then leaves its own accelerators alone, if it has not used them yet.

    Raises:
      ConfigError: If the compiler is not installed, or does not know this topology.
    """
    if not target.topology:
        return jax.devices()
    _check_compiler(target)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_compilation_cache", False)  # a program for absent devices cannot be loaded from it
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # what the compilers say about the machine they run on
    try:
        if target.chip.platform == "tpu":
            for name, value in TPU_ENVIRONMENT.items():
                os.environ.setdefault(name, value)
            return topologies.get_topology_desc(target.topology, "tpu").devices
        text = HOPPER.format(**target.chip.described)
        return topologies.get_topology_desc("", "cuda", topology=target.topology, target_config=text).devices
    except (JaxRuntimeError, NotImplementedError, RuntimeError) as error:
        reason = first_line(error).removeprefix("INVALID_ARGUMENT: ")
        raise ConfigError(f"`target` {target.name}: the compiler refuses it: {reason}") from None


def _check_compiler(target: Target) -> None:
    """Check that the compiler for a target is installed.

    Raises:
      ConfigError: If it is not; the message has the command that installs it.
    """
    version = jax.__version__
    if target.chip.platform == "tpu":
        missing, command = not _installed("libtpu"), f'"jax[tpu]=={version}"'
    else:
        plugin = _installed("jax_plugins.xla_cuda12") or _installed("jax_plugins.xla_cuda13")
        assembler = _installed("nvidia.cuda_nvcc") or shutil.which("ptxas")
        missing = not (plugin and assembler)
        command = f"jax-cuda12-plugin=={version} jax-cuda12-pjrt=={version} nvidia-cuda-nvcc-cu12"
    if missing:
        raise ConfigError(f"the compiler for {target.name} is not installed: pip install {command}")


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # not even the package above it
        return False
