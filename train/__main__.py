"""`python -m train CONFIG [--out DIR] [--dotted.field VALUE ...]`"""

import dataclasses
import importlib
import importlib.util
import pkgutil
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jepa_jax.config import Config
from jepa_jax.config_json import from_json
from jepa_jax.errors import ConfigError, nearest

USAGE = "python -m train CONFIG [--out DIR] [--dotted.field VALUE ...]"


@dataclass(frozen=True)
class Arguments(Config):
    """The command line: a config's fields, and where to write."""

    out: str | None = None
    """Folder for config.json, metrics.jsonl, checkpoints/, figures/ and summary.json. None: runs/ and the config's
    name. The same command again continues from its last checkpoint."""
    dry_run: bool = False
    """Print what a step needs (parameters, memory, arithmetic) and stop, without reading data or writing anything."""
    distributed: bool = False
    """On a TPU slice or a cluster: meet the processes on the other hosts, each started with this same command."""
    coordinator: str | None = None
    """Elsewhere: HOST:PORT of process 0, where all processes meet."""
    processes: int | None = None
    """How many there are."""
    process: int | None = None
    """Which of them this is, from 0."""


def main(args: list[str]) -> int:
    """Run the program; the exit status is 0, 1 or 2 as the README says."""
    try:
        return run(args)
    except ConfigError as error:
        from jepa_jax.cli import as_flags

        print(f"error: {as_flags(str(error), Arguments)}", file=sys.stderr)
        return 2


def run(args: list[str]) -> int:
    """Parse, train, print the result."""
    if not args:
        raise ConfigError(f"name a config: {USAGE}; --help lists them")
    if args[0] in ("-h", "--help"):
        print(overview())
        return 0
    if args[0].startswith("-"):
        raise ConfigError(f"the config comes first: {USAGE}")
    name, config = find_config(args[0])
    # After the config's own errors: the parser and jax take a second to import.
    from jepa_jax.cli import parse, renamed
    from jepa_jax.config_json import RENAMED

    args, notes = renamed(args, RENAMED)
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    fields = {f.name: getattr(config, f.name) for f in dataclasses.fields(Config)}
    parsed = parse(
        Arguments,
        args[1:],
        prog=f"python -m train {args[0]}",
        description=f"Train the config {name}. Every field below can be set; defaults are this config's.",
        default=Arguments(**fields),
    )
    config = Config(**{name: getattr(parsed, name) for name in fields})

    from rich.console import Console

    from jepa_jax import compile_cache
    from jepa_jax.distributed import join

    join(parsed.coordinator, parsed.processes, parsed.process, parsed.distributed, together=True)
    compile_cache.enable()
    if parsed.dry_run:
        from train.dry_run import dry_run

        dry_run(config, Console(highlight=False, soft_wrap=True))
        return 0
    from train.loop import TrainingError, train

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    out = Path(parsed.out) if parsed.out else Path("runs") / name
    try:
        summary = train(config, out, console)
    except TrainingError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted; the same command continues {out} from its last checkpoint", file=sys.stderr)
        return 1
    if summary:  # the first process has it
        print_summary(summary, out, config.data.source)
    return 0


def print_summary(summary: dict[str, Any], out: Path, source: str) -> None:
    """The result in plain words, and the next step."""
    shown = {
        "density/spearman": "Spearman of the score with the exact log-density",
        "density/log_density_spearman": "Spearman of the corrected log-density",
        "density/top_log_density_spearman": "the same, leading singular values only",
        "density/tangent_log_density_spearman": "the same, on the manifold's tangent",
    }
    for name, label in shown.items():
        # On a sphere the correction is a constant: the same number twice would say nothing.
        if summary.get(name) is not None and not ("log_density" in name and summary["law"] == "sphere"):
            before = summary.get(f"{name}_untrained")
            print(f"{label}: {summary[name]:.4f}" + ("" if before is None else f" (untrained {before:.4f})"))
    if summary.get("probe/linear") is not None:
        print(
            f"Linear probe on held-out samples: {summary['probe/linear']:.3f} "
            f"(untrained {summary['probe/linear_untrained']:.3f}, "
            f"principal components {summary['probe/linear_pca']:.3f}); k-NN {summary['probe/knn']:.3f}"
        )
    for name in sorted(k for k in summary if k.startswith("auroc/") and not k.endswith("_untrained")):
        other, before = name.removeprefix("auroc/"), summary[f"{name}_untrained"]
        print(f"AUROC of the score against {other} samples: {summary[name]:.3f} (untrained {before:.3f})")
    print(summary["health_sentence"])
    if summary.get("best_step") not in (None, summary["step"]):
        print(f"best at step {summary['best_step']}: score it with --step best")
    if summary.get("data/idle_share") is not None:
        print(f"the devices waited for data {100 * summary['data/idle_share']:.0f} % of the time, at most")
    if summary.get("monitor/time_share") is not None:
        watching, drawing = (round(100 * summary[f"{name}/time_share"]) for name in ("monitor", "figures"))
        print(f"monitors took {watching} % of the time and pictures {drawing} %, compilation aside")
    if "figure" in summary:
        print(f"picture: {summary['figure']}")
    print(f"next: {shlex.join(('python', '-m', 'score', str(out), '--data', source))}")


def overview() -> str:
    """What `--help` without a config shows: the configs there are."""
    lines = [f"usage: {USAGE}", "", "Train a JEPA and watch the density it learns. CONFIG is a file, or one of:", ""]
    for name in config_names():
        doc = (importlib.import_module(f"configs.{name}").__doc__ or "").strip().splitlines()[0]
        lines.append(f"  {name:17} {doc}")
    return "\n".join([*lines, "", "python -m train CONFIG --help shows every field with its meaning and default."])


def config_names() -> list[str]:
    """The bare names in configs/."""
    import configs

    return sorted(m.name for m in pkgutil.iter_modules(configs.__path__))


def find_config(name: str) -> tuple[str, Config]:
    """A config by bare name, or from a .py file with get_config(), or from a .json file such as a run's config.json.

    Raises:
      ConfigError: there is none.
    """
    path = Path(name)
    if path.suffix == ".json":
        if not path.is_file():
            raise ConfigError(f"{path} does not exist")
        from jepa_jax.run_dir import CONFIG_FILE, kind_of, read_config

        if path.name == CONFIG_FILE and kind_of(path.parent) == "run":
            return path.resolve().parent.name, read_config(path.parent)[0]
        return path.stem, from_json(path.read_text())
    if path.suffix == ".py":
        spec = importlib.util.spec_from_file_location("user_config", path)
        if not path.is_file() or spec is None or spec.loader is None:
            raise ConfigError(f"{path} does not exist")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        if not hasattr(module, "get_config"):
            raise ConfigError(f"{path} has no function get_config()")
        return path.stem, module.get_config()
    if name not in config_names():
        raise ConfigError(f"unknown config {name!r}{nearest(name, config_names())}")
    return name, importlib.import_module(f"configs.{name}").get_config()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
