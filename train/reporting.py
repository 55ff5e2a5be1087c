"""Evaluation and output of a run, in its first process; the other processes have a reporter that does nothing."""

from pathlib import Path
from typing import Any

import jax
from rich.console import Console

from jepa_jax.cli import as_flags
from jepa_jax.config import Config
from jepa_jax.data import Source, ignored_options
from jepa_jax.encoder import Encoder
from jepa_jax.errors import ConfigError, nearest
from jepa_jax.initial_weights import InitialWeights, description, sentence
from jepa_jax.recipes import mask_metrics, weighted
from jepa_jax.run_dir import write_embeddings, write_mixture
from jepa_jax.training import METRICS

from . import figures, summary
from .clock import Clock
from .log import Writer, open_log
from .monitor import Look, Monitor

# Prefixes of the metrics that the summary also contains for the untrained encoder.
COMPARED_METRICS = ("density/", "probe/", "auroc/", "embedding/effective_rank", "embedding/slices")


class NullReporter:
    """Reporter that does nothing, for all processes except the first."""

    def baseline(self, encoder: Encoder) -> None:
        """Evaluate the untrained encoder, which also compiles the evaluation before any time is measured.

        Raises:
          ConfigError: If `checkpoint.best` is no metric of the evaluation.
        """

    def open(self, step: int) -> None:
        """Open the log, and report the evaluation of the untrained encoder.

        Args:
          step: Step from which the run continues, or 0.

        Raises:
          ConfigError: If a log cannot be opened.
        """

    def line(self, clock: Clock, encoder: Encoder, idle: float) -> dict[str, Any]:
        """Evaluate, write one line of metrics, and draw.

        Args:
          clock: Counters of the run.
          encoder: Encoder at this step.
          idle: Upper bound of the time in which the devices waited for data since the last line, in seconds.

        Returns:
          The line if the density was evaluated, or else {}.
        """
        return {}

    def finish(self, clock: Clock, encoder: Encoder, best_step: int | None) -> dict[str, Any]:
        """Draw the final figures, write the summary and return it.

        Args:
          clock: Counters of the run.
          encoder: Encoder that is the result of the run, at the best step if the config says so, or else the last.
          best_step: Best step, or None if none was judged.
        """
        return {}

    def close(self) -> None:
        """Close the log."""


class Reporter(NullReporter):
    """Reporter of the first process."""

    def __init__(
        self, config: Config, source: Source, out: Path, console: Console, initial: InitialWeights | None = None
    ) -> None:
        """Open the monitor of a run, and name the options that have no effect on its data.

        Args:
          config: Resolved config.
          source: Data of the run.
          out: Folder of the run.
          console: Console for the messages.
          initial: Weights of another model from which the run starts, or None.

        Raises:
          ConfigError: If the requested evaluation is impossible on these data.
        """
        self._config, self._source, self._out, self._console = config, source, out, console
        self._initial = None if initial is None else description(initial, config)
        self._monitor = Monitor(config, source)
        self._log: Writer = Writer()
        self._untrained: Look | None = None
        self._encoder: Encoder | None = None
        self._look: Look | None = None
        self._verdict = ""
        ignored = ignored_options(config.data, source)
        unused = (
            "the conditions of the data are not used: only `recipe.kind` pair with a `recipe.predictor` is told them"
        )
        conditions = source.conditions and not getattr(config.recipe, "conditions", 0)
        for note in (*([ignored] if ignored else []), *([unused] if conditions else []), *source.notes):
            console.print(f"note: {as_flags(note, Config)}", markup=False)

    def baseline(self, encoder: Encoder) -> None:
        """Evaluate the untrained encoder, whose metrics are the baseline of the training, as in the base class."""
        self._monitor.effective_rank(encoder)
        if encoder.normalised:
            with self._console.status("fitting a kernel density estimate and a Gaussian mixture to compare with"):
                self._monitor.held_out.fit_baselines()
        self._encoder, self._untrained = encoder, self._monitor.look(encoder)
        best = self._config.checkpoint.best
        known = [*METRICS, *(name for name, value in self._untrained.metrics.items() if not isinstance(value, str))]
        if best not in (None, "auto", *known):
            raise ConfigError(f"`checkpoint.best` is {best}, which is not a metric of this run{nearest(best, known)}")

    def open(self, step: int) -> None:
        """Open the log, and report the evaluation of the untrained encoder, as in the base class."""
        self._log = open_log(self._out, step, ("jsonl", *self._config.monitor.writers))
        look = self._untrained
        if step or look is None or self._encoder is None:
            return
        world = self._source.world
        if self._config.monitor.figures and world is not None and world.extent is not None:
            self._draw(look, self._encoder, 0)  # the first picture of the animation
        if self._initial is not None:
            weights = self._encoder.params["network"]
            count = sum(leaf.size for leaf in jax.tree.leaves(weights))
            self._console.print(sentence(self._initial, count), markup=False)
        self._console.print(
            summary.progress_line(0, look.metrics, None, "untrained" if self._initial is None else "start")
        )

    def line(self, clock: Clock, encoder: Encoder, idle: float) -> dict[str, Any]:
        """Evaluate, write one line of metrics, and draw, as in the base class."""
        with clock.spent("watching"):
            row: dict[str, Any] = clock.means(self._source.batch_size)
            if self._source.batches is not None:
                row["data/idle_share"] = idle / clock.seconds
            look = self._monitor.look(encoder) if clock.looking else None
            row |= {"embedding/effective_rank": self._monitor.effective_rank(encoder)} if look is None else look.metrics
            row |= mask_metrics(self._config.recipe, clock.step / self._config.steps)
            self._log.write(row)
        if look is None:
            return {}
        self._look = look
        said = look.health.finding if look.health.verdict == self._verdict else look.health.sentence
        self._verdict = look.health.verdict  # advice is given once
        # The verdict of a finished run is printed with its result.
        self._console.print(summary.progress_line(clock.step, row, "" if clock.finished else said))
        with clock.spent("drawing"):
            if self._config.monitor.figures and not clock.finished:  # the last figure is drawn by `finish`
                self._draw(look, encoder, clock.step)
        return row

    def finish(self, clock: Clock, encoder: Encoder, best_step: int | None) -> dict[str, Any]:
        """Draw the final figures, write the summary and return it, as in the base class."""
        result = self._config.checkpoint.result == "best" and best_step is not None
        step = best_step if result and best_step is not None else clock.step
        if encoder.maps:
            _, weights = self._monitor.held_out.mixture(encoder)
            write_mixture(self._out, step, weights.tolist())
            encoder = weighted(encoder, weights)
        if (known := self._monitor.known_embeddings(encoder)) is not None:
            write_embeddings(self._out, step, known)
        # The last evaluation is that of the result, unless this is another checkpoint or another map of a mixture.
        look = self._monitor.look(encoder) if result or encoder.maps or self._look is None else self._look
        found = self._log.latest() | look.metrics
        if self._config.monitor.figures:
            self._draw(look, encoder, step)
            found["figure"] = str(figures.finish(self._out, look, self._source, step))
        found |= self._monitor.calibration(encoder, look)
        found |= summary.about(look, encoder, self._config.density.law)
        untrained = {} if self._untrained is None else self._untrained.metrics
        found |= {f"{name}_untrained": v for name, v in untrained.items() if name.startswith(COMPARED_METRICS)}
        found |= self._monitor.principal_components(encoder.dim)
        if self._initial is not None:
            found |= {"init_from": self._initial["model"], "init_from_taken": ", ".join(self._initial["taken"])}
            found["init_from_anew"] = ", ".join(self._initial["anew"])
        found["best_step"] = best_step
        found["best_is_result"] = result
        found |= clock.shares()
        summary.write_summary(self._out, found)
        return found

    def close(self) -> None:
        """Close the log."""
        self._log.close()

    def _draw(self, look: Look, encoder: Encoder, step: int) -> None:
        figures.draw(figures.picture(self._out, step), look, encoder, self._source, step, self._log.rows)
