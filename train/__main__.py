"""Program `python -m train CONFIG [--out DIR] [--dotted.field VALUE ...]`, installed as `jepa-train`."""

import dataclasses
import io
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jepa_jax import __version__
from jepa_jax.config import Config
from jepa_jax.config_json import to_json
from jepa_jax.errors import ConfigError

from .config_files import config_module, config_names, find_config

if TYPE_CHECKING:  # its import takes a second
    from jepa_jax.initial_weights import InitialWeights

ARGUMENTS = "CONFIG [--out DIR] [--dotted.field VALUE ...]"


@dataclass(frozen=True)
class Arguments(Config):
    """Command line of the program: the fields of a config, and the options of the program itself."""

    out: str | None = None
    """Folder for config.json, metrics.jsonl, checkpoints/, figures/ and summary.json. None: runs/NAME with the name of
    the config. The same command continues an interrupted run from its last checkpoint."""
    seeds: tuple[int, ...] | None = None
    """Train one run for each of these seeds, in DIR/seed_N, and print their summaries side by side, with the median and
    the range. Each continues as a single one does. None: one run, with --seed."""
    dry_run: bool = False
    """Print the requirements of a step (parameters, memory, arithmetic) and stop, without reading data or writing
    files."""
    target: str | None = None
    """With --dry-run: devices to compile for, which this machine need not have, such as v5e:2x4 (a TPU slice of 2 x 4
    chips), v6e:2x2, v5p:2x2x1, tpu7x:2x2x1, h100, h100x8 or h200. It prints the memory of each device and whether the
    step fits, what moves between devices and to the host, and the time at the peak of the data sheet. None: the devices
    of this machine."""
    json: str | None = None
    """With --dry-run: FILE.json to write with the requirements on the target, which are then printed, too."""
    print_config: bool = False
    """Print the config as JSON and stop. The output may be edited and named as CONFIG."""
    distributed: bool = False
    """On a TPU slice or a cluster: connect to the processes on the other hosts, each started with this same command."""
    coordinator: str | None = None
    """For several processes elsewhere: HOST:PORT of process 0, to which the others connect."""
    processes: int | None = None
    """Number of processes; needs --coordinator."""
    process: int | None = None
    """Index of this process, from 0; needs --coordinator."""


def script() -> None:
    """Run the program and return its exit status: 0, 2 if the input is invalid, or 1 if it fails otherwise."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names of files may hold anything, and be no text in this encoding
            stream.reconfigure(errors="backslashreplace")
    sys.exit(main(sys.argv[1:]))


def main(args: list[str]) -> int:
    """Run the program and return its exit status: 0, 2 if the input is invalid, or 1 if it fails otherwise."""
    from jepa_jax.cli import exit_status  # here, because its import takes a second that workers need not wait

    return exit_status(lambda: run(args), Arguments)


def run(args: list[str]) -> int:
    """Parse the arguments, train, print the result, and return the exit status.

    Raises:
      ConfigError: If the arguments, the config or the data are invalid.
    """
    if not args:
        raise ConfigError(f"name a config: {usage()}; --help lists them")
    if args[0] in ("-h", "--help"):
        print(overview())
        return 0
    if "--version" in args:
        print(__version__)
        return 0
    if args[0] == "--runs":
        return print_runs(args)
    if args[0].startswith("--tyro-"):  # shell completion, of the options that every config has
        args = ["mixture_2d", *args]
    if args[0].startswith("-"):
        raise ConfigError(f"the config comes first: {usage()}")
    name, default = find_config(args[0])
    arguments = read_arguments(name, default, args)
    config = Config(**{f.name: getattr(arguments, f.name) for f in dataclasses.fields(Config)})
    if arguments.print_config:
        print(to_json(config), end="")
        return 0
    # Imported only after the arguments were checked, because the import of jax takes a second.
    if arguments.dry_run or arguments.target or arguments.json:
        return dry_run_and_print(start_of(config, default)[0], arguments)
    open_devices(arguments)
    out = Path(arguments.out) if arguments.out else Path("runs") / name
    config, initial = start_of(config, default)
    if arguments.seeds is None:
        return train_and_print(config, initial, out)
    if config.seed != default.seed:
        raise ConfigError("--seeds names the seeds; leave out --seed")
    return train_seeds(config, initial, out, arguments.seeds)


def read_arguments(name: str, config: Config, args: list[str]) -> Arguments:
    """Parse the command line, with the values of the config as defaults.

    Args:
      name: Name of the config, for the help text.
      config: Config that provides the defaults.
      args: Command line, beginning with the name of the config.

    Raises:
      ConfigError: If an option or value is unknown.
      SystemExit: With status 0, after `--help` was printed.
    """
    from jepa_jax.cli import parse, program, renamed
    from jepa_jax.config_json import RENAMED_FIELDS

    options, notes = renamed(args[1:], RENAMED_FIELDS)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(Config)}
    completion = any(option.startswith("--tyro-") for option in options)  # only an installed command can have one
    return parse(
        Arguments,
        options,
        prog="jepa-train" if completion else " ".join((*program("train", __package__), args[0])),
        description=f"Train the config {name}. Every field below can be set; the defaults are those of this config.",
        default=Arguments(**fields),
    )


def open_devices(arguments: Arguments) -> None:
    """Connect to the other processes, if there are any, and use the cache of compiled programs.

    Raises:
      ConfigError: If the options of the processes are invalid.
    """
    from jepa_jax import compile_cache
    from jepa_jax.distributed import join

    join(arguments.coordinator, arguments.processes, arguments.process, arguments.distributed, together=True)
    compile_cache.enable()


def dry_run_and_print(config: Config, arguments: Arguments) -> int:
    """Print the requirements of a step, and return the exit status.

    Raises:
      ConfigError: If the arguments or the config are invalid, or the step does not fit on the target.
    """
    from rich.console import Console

    from jepa_jax.ahead import CompilerError, check_ahead, find_target, present_target

    from .dry_run import dry_run, dry_run_for

    check_ahead(arguments.dry_run, arguments.target, arguments.json)
    console = Console(highlight=False, soft_wrap=True)
    if arguments.target is None:
        open_devices(arguments)
        if arguments.json is None:
            dry_run(config, console)
            return 0
    target = present_target() if arguments.target is None else find_target(arguments.target)
    try:
        dry_run_for(config, target, console, arguments.json)
    except CompilerError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def start_of(config: Config, default: Config) -> tuple[Config, "InitialWeights | None"]:
    """Return the config with the encoder of `init_from`, and its weights, if it names a model.

    Args:
      config: Config of the run.
      default: The named config; what differs from it was typed, and must be what the model has.

    Raises:
      ConfigError: If there is no model, or it contradicts the options.
    """
    if config.init_from is None:
        return config, None
    from jepa_jax.initial_weights import with_initial_weights

    return with_initial_weights(config, default)


def train_and_print(config: Config, initial: "InitialWeights | None", out: Path) -> int:
    """Train, print the result, and return the exit status."""
    from jax.errors import JaxRuntimeError
    from rich.console import Console

    from jepa_jax.cli import as_flags, program

    from .loop import TrainingError, train
    from .summary import print_summary

    try:
        summary = train(config, out, Console(stderr=True, highlight=False, soft_wrap=True), initial)
    except TrainingError as error:
        print(f"error: {as_flags(str(error), config)}", file=sys.stderr)
        return 1
    except (MemoryError, JaxRuntimeError) as error:
        if isinstance(error, JaxRuntimeError) and not re.search("out of memory|RESOURCE_EXHAUSTED", str(error), re.I):
            raise
        sizes = as_flags("`data.batch_size`, `encoder.widths` or `encoder.width`", config)
        print(f"error: out of memory; lower {sizes}, and see --dry-run for what a step needs", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted; the same command continues {out} from its last checkpoint", file=sys.stderr)
        return 1
    if summary:  # only the first process has one
        print_summary(summary, out, config.data.source, program("score", __package__))
    return 0


def train_seeds(config: Config, initial: "InitialWeights | None", out: Path, seeds: tuple[int, ...]) -> int:
    """Train one run for each seed, print their summaries, and return the exit status: that of the first that fails.

    Raises:
      ConfigError: If a seed is named twice, or as in `loop.train`.
    """
    import jax

    from .overview import print_table, summary_of

    if not seeds or len(set(seeds)) < len(seeds):
        raise ConfigError(f"--seeds {' '.join(map(str, seeds)) or 'names no seed'}: name every seed once")
    runs = {seed: out / f"seed_{seed}" for seed in seeds}
    for seed, folder in runs.items():
        print(f"seed {seed}", file=sys.stderr)
        status = train_and_print(dataclasses.replace(config, seed=seed), initial, folder)
        if status:
            return status
    if jax.process_index() == 0:
        print_table({str(folder): summary_of(folder) for folder in runs.values()}, spread=True)
    return 0


def print_runs(args: list[str]) -> int:
    """Print the summaries of the runs in some folders, and return the exit status.

    Raises:
      ConfigError: If there are none, or an option is unknown.
    """
    from jepa_jax.cli import parse, program

    from .overview import Arguments, overview

    args = args[1:] if len(args) == 1 or args[1].startswith("-") else args  # without a folder: those in runs/
    found = parse(
        Arguments,
        args,
        prog=" ".join(program("train", __package__)),
        description="Print a table of the summaries of the runs in DIR..., or in runs/.",
    )
    overview(found.runs, found.json)
    return 0


def usage() -> str:
    """Return the command that starts the program."""
    from jepa_jax.cli import program

    return " ".join((*program("train", __package__), ARGUMENTS))


def overview() -> str:
    """Return the text of `--help` without a config, which lists the configs."""
    lines = [
        f"usage: {usage()}",
        "",
        "Train a JEPA and evaluate the density it learns. CONFIG is a file, or one of:",
        "",
    ]
    names = config_names()
    width = max(map(len, names))
    for name in names:
        doc = (config_module(name).__doc__ or "").strip().splitlines()[0]
        lines.append(f"  {name:{width}} {doc}")
    more = [
        "",
        "CONFIG --help shows every field with its meaning and default; --runs DIR... lists the runs in folders.",
    ]
    return "\n".join([*lines, *more])


if __name__ == "__main__":
    script()
