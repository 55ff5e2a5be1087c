"""Requirements of a program on the devices that it is compiled for."""

import dataclasses
import hashlib
import math
import re
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

from jax.errors import JaxRuntimeError
from rich.console import Console
from rich.table import Table

from jepa_jax.ahead.targets import Target
from jepa_jax.errors import first_line
from jepa_jax.matmuls import equations, matmul_flops, matmul_work

COLLECTIVES = (
    "all-reduce|all-gather|reduce-scatter|all-to-all|ragged-all-to-all|collective-permute|collective-broadcast"
)
CALLBACKS = ("pure_callback", "io_callback", "debug_callback")
# A GPU's compiler would time kernels on the device to choose among them.
COMPILER_OPTIONS = {"gpu": {"xla_gpu_autotune_level": "0", "xla_gpu_enable_triton_gemm": False}}
SIZE = r"([\d.]+)([KMGT]?)"  # in the messages of a TPU's compiler
PREFIXES = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class CompilerError(RuntimeError):
    """The compiler for a device rejects a program, for another reason than memory."""


@dataclass(frozen=True)
class Requirements:
    """Requirements of one program; bytes are those of one device.

    Attributes:
      program: What the program does, in words.
      target: Name of the devices.
      devices: Number of devices.
      memory: Bytes of `arguments`, `outputs`, `temporaries` and `code`, as the compiler reports them, and of all of it
        together, `peak`. Arguments that the program overwrites count once. A program that the compiler refuses for its
        size has only `peak`, which is then a lower limit, and perhaps `arguments`.
      available: Bytes that a program may use there; None if unknown.
      collectives: Number of operations between devices, by kind. One in a loop counts once.
      callbacks: Number of calls of Python on the host. One in a loop counts once.
      callback_bytes: Most bytes that one of them moves from and to one device.
      callback_limit: Bytes of matrices so small that a host can decompose as many as the devices make.
      flops: Products and sums of all matrix products, over all devices.
      work: The same by the format of the factors, in all passes of a matrix unit.
      seconds: Time of `work` at the peak of the data sheet; None if the peak is unknown. No program is that fast.
      digest: SHA-256 of the program before the compiler changes it, which stays as long as the program does.
      compile_seconds: Time that the compiler took.
    """

    program: str
    target: str
    devices: int
    memory: dict[str, int]
    available: int | None
    collectives: dict[str, int]
    callbacks: int
    callback_bytes: int
    callback_limit: int
    flops: int
    work: dict[str, int]
    seconds: float | None
    digest: str
    compile_seconds: float

    @property
    def missing(self) -> int:
        """Bytes that a device lacks; 0 if the program fits, or the memory of the device is unknown."""
        return 0 if self.available is None else max(0, self.memory["peak"] - self.available)

    @property
    def fits(self) -> bool:
        """Whether the program fits into the memory of a device."""
        return not self.missing

    @property
    def heavy_traffic(self) -> bool:
        """Whether a callback moves more than small matrices."""
        return self.callback_bytes > self.callback_limit

    def to_dict(self) -> dict[str, Any]:
        """Return the attributes and the properties, as JSON holds them."""
        return dataclasses.asdict(self) | {
            "fits": self.fits,
            "missing": self.missing,
            "heavy_traffic": self.heavy_traffic,
        }


def requirements(traced: Any, target: Target, devices: int, program: str, *, callback_limit: int = 0) -> Requirements:
    """Compile a program and return its requirements.

    Args:
      traced: Trace of the program with arguments on the devices, a `jax.stages.Traced`.
      target: Devices.
      devices: Number of them that the program uses.
      program: What it does, in words.
      callback_limit: Bytes that a callback may move from and to one device.

    Raises:
      CompilerError: If the compiler rejects the program, unless because it is too large.
    """
    jaxpr, chip = traced.jaxpr.jaxpr, target.chip
    sizes = [_callback_bytes(e) for e, _ in equations(jaxpr) if e.primitive.name in CALLBACKS]
    work = matmul_work(jaxpr, chip.platform)
    known = all(name in chip.rates for name in work)
    lowered = traced.lower()
    started = time.perf_counter()
    memory, collectives = _compile(lowered, target)
    return Requirements(
        program=program,
        target=target.name,
        devices=devices,
        memory=memory,
        available=chip.memory,
        collectives=collectives,
        callbacks=len(sizes),
        callback_bytes=max(sizes, default=0),
        callback_limit=callback_limit,
        flops=matmul_flops(jaxpr),
        work=work,
        seconds=sum(n / chip.rates[name] for name, n in work.items()) / devices if known else None,
        digest=hashlib.sha256(lowered.as_text().encode()).hexdigest(),
        compile_seconds=round(time.perf_counter() - started, 1),
    )


def show(found: Requirements, console: Console) -> None:
    """Print requirements."""
    title = f"{found.program} on {found.target}: memory of one device"
    table = Table(*found.memory, "available", "fits", title=title)
    fits = "unknown" if found.available is None else "yes" if found.fits else "no"
    table.add_row(*map(in_bytes, found.memory.values()), in_bytes(found.available), fits)
    console.print(table)
    between = ", ".join(f"{n} {kind}" for kind, n in found.collectives.items()) or "none"
    console.print(f"collectives in the program: {between}; compiled in {found.compile_seconds:.0f} s")
    console.print(f"host callbacks: {_callbacks_in_words(found)}")
    peak = "" if found.seconds is None else f", {1e3 * found.seconds:.3g} ms at the peak of the data sheet"
    console.print(
        f"matrix products: {found.flops:.3g} FLOPs on {found.devices} device(s), counted in the traced program without "
        f"decompositions{peak}",
        markup=False,
    )


def in_bytes(count: float | None) -> str:
    """Return a number of bytes with a unit."""
    if count is None:
        return "unknown"
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def _callbacks_in_words(found: Requirements) -> str:
    if not found.callbacks:
        return "none"
    moved = f"{found.callbacks}, of at most {in_bytes(found.callback_bytes)} for each device"
    return f"{moved}; more than K x K matrices, so the host may not keep up" if found.heavy_traffic else moved


def _compile(lowered: Any, target: Target) -> tuple[dict[str, int], dict[str, int]]:
    """Compile a program and return the memory and the collectives."""
    options = COMPILER_OPTIONS.get(target.chip.platform) if target.topology else None
    try:
        compiled = lowered.compile(compiler_options=options)
    except JaxRuntimeError as error:
        if refused := _refused(str(error)):
            return refused, {}
        raise CompilerError(f"the compiler for {target.name} rejects the program: {first_line(error)}") from None
    sizes = compiled.memory_analysis()
    memory = {
        "arguments": sizes.argument_size_in_bytes,
        "outputs": sizes.output_size_in_bytes - sizes.alias_size_in_bytes,
        "temporaries": sizes.temp_size_in_bytes,
        "code": sizes.generated_code_size_in_bytes,
    }
    found = re.findall(rf" ({COLLECTIVES})(?:-start)?\(", compiled.as_text())
    peak = max(sum(memory.values()), sizes.peak_memory_in_bytes)  # the latter has the memory on a TPU's chip, too
    return memory | {"peak": peak}, dict(Counter(found))


def _refused(message: str) -> dict[str, int]:
    """Return the memory in the words with which the compiler refuses a program for its size; {} for another reason."""
    if single := re.search(r"Allocation \(size=(\d+)\) would exceed memory", message):
        return {"peak": int(single[1])}  # of one array alone
    found = {}
    for name, pattern in (("arguments", rf"\n *arguments +{SIZE}"), ("peak", rf"Used {SIZE} of [\d.]+[KMGT]? hbm")):
        if match := re.search(pattern, message):
            found[name] = int(float(match[1]) * PREFIXES[match[2]])
    return found if "peak" in found else {}


def _callback_bytes(equation: Any) -> int:
    return sum(math.prod(v.aval.shape) * v.aval.dtype.itemsize for v in (*equation.invars, *equation.outvars))
