"""What a step needs, without data: parameters, memory, arithmetic."""

import jax
from rich.console import Console
from rich.table import Table

from jepa_jax.config import Config
from jepa_jax.sharding import training_mesh
from jepa_jax.training.cost import step_cost

SHARES = (1, 2, 4)  # of the config's batch: the whole, a half, a quarter


def dry_run(config: Config, console: Console) -> None:
    """Compile the step for the devices at hand and print what it needs, for the config's batch and smaller ones.

    Raises:
      ConfigError: the config is wrong, or the shape of a sample can only be had by reading the data.
    """
    mesh = training_mesh(config.mesh)
    parameters: dict[str, int] = {}
    table = Table("batch", "FLOPs a step", "activations", "state", "data", "all", title="memory of one device")
    for share in SHARES:
        batch = config.data.batch_size // share
        if share > 1 and batch % (mesh.size * config.optim.accumulate):
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
        "FLOPs: products and sums of all matrix products of a step, on all devices together. State: parameters, "
        "optimiser and moving averages. Activations: what the compiler for this kind of device sets aside."
    )
    if kind == "cpu":
        console.print("Another kind of device needs other memory: on it, this command prints its own numbers.")


def _bytes(count: float) -> str:
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"
