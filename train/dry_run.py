"""Requirements of a training step, determined without data: parameters, memory and arithmetic."""

import jax
from rich.console import Console
from rich.table import Table

from jepa_jax.config import Config
from jepa_jax.sharding import training_mesh
from jepa_jax.training.cost import step_cost

BATCH_DIVISORS = (1, 2, 4)  # divisors of the config's batch size: the whole batch, a half, a quarter


def dry_run(config: Config, console: Console) -> None:
    """Compile the step for the available devices and print its requirements, for the config's batch and smaller ones.

    Raises:
      ConfigError: If the config is invalid, or the shape of a sample is known only after reading the data.
    """
    mesh = training_mesh(config.mesh)
    parameters: dict[str, int] = {}
    table = Table("batch", "FLOPs a step", "activations", "state", "data", "all", title="memory of one device")
    for divisor in BATCH_DIVISORS:
        batch = config.data.batch_size // divisor
        if divisor > 1 and batch % (mesh.size * config.optim.accumulate):
            continue
        cost = step_cost(config, mesh, batch)
        parameters, memory = cost.parameters, cost.memory
        cells = (memory["activations"], memory["state"], memory["data"], sum(memory.values()))
        table.add_row(str(cost.batch), f"{cost.flops:.3g}", *map(_bytes, cells))
    kind = jax.devices()[0].device_kind
    console.print(
        f"{mesh.size} device(s) of kind {kind}, {config.optim.compute}, {config.optim.accumulate} part(s) a batch"
    )
    console.print("parameters: " + ", ".join(f"{name} {count:,}" for name, count in parameters.items()))
    console.print(table)
    console.print(
        "FLOPs: multiplications and additions in the matrix products of a step, over all devices. State: parameters, "
        "optimiser state and moving averages. Activations: memory that the compiler for these devices allocates."
    )
    if kind == "cpu":
        console.print("Another kind of device needs another amount of memory: run this command there.")


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
