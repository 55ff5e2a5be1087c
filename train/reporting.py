"""Evaluation and output of a run, in its first process; the other processes have a reporter that does nothing."""

from pathlib import Path
from typing import Any

from rich.console import Console

from jepa_jax.cli import as_flags
from jepa_jax.config import Config
from jepa_jax.data import Source, ignored_options
from jepa_jax.encoder import Encoder
from jepa_jax.recipes import weighted
from jepa_jax.run_dir import write_embeddings, write_mixture

from . import figures, summary
from .clock import Clock
from .log import open_log
from .monitor import Look, Monitor

# Prefixes of the metrics that the summary also contains for the untrained encoder.
COMPARED_METRICS = ("density/", "probe/", "auroc/", "embedding/effective_rank", "embedding/slices")


class NullReporter:
    """Reporter that does nothing, for all processes except the first."""

    def baseline(self, encoder: Encoder, step: int) -> None:
        """Evaluate the untrained encoder, which also compiles the evaluation before any time is measured."""

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

    def __init__(self, config: Config, source: Source, out: Path, console: Console, step: int) -> None:
        """Open the monitor and the log of a run, and name the options that have no effect on its data.

        Args:
          config: Resolved config.
          source: Data of the run.
          out: Folder of the run.
          console: Console for the messages.
          step: Step from which the run continues, or 0.

        Raises:
          ConfigError: If the requested evaluation is impossible on these data, or a log cannot be opened.
        """
        self._config, self._source, self._out, self._console = config, source, out, console
        self._monitor = Monitor(config, source)
        self._log = open_log(out, step, ("jsonl", *config.monitor.writers))
        self._untrained: dict[str, Any] = {}
        self._look: Look | None = None
        ignored = ignored_options(config.data, source)
        for note in (*([ignored] if ignored else []), *source.notes):
            console.print(f"note: {as_flags(note, Config)}", markup=False)

    def baseline(self, encoder: Encoder, step: int) -> None:
        """Evaluate the untrained encoder, whose metrics are the baseline of the training."""
        self._monitor.effective_rank(encoder)
        if encoder.normalised:
            with self._console.status("fitting a kernel density estimate and a Gaussian mixture to compare with"):
                self._monitor.fit_baselines()
        look = self._monitor.look(encoder)
        self._untrained = look.metrics
        if not step:
            world = self._source.world
            if self._config.monitor.figures and world is not None and world.extent is not None:
                self._draw(look, encoder, 0)  # the first picture of the animation
            self._console.print(summary.progress_line(0, self._untrained, None))

    def line(self, clock: Clock, encoder: Encoder, idle: float) -> dict[str, Any]:
        """Evaluate, write one line of metrics, and draw, as in the base class."""
        with clock.spent("watching"):
            row: dict[str, Any] = clock.means(self._source.batch_size)
            if self._source.batches is not None:
                row["data/idle_share"] = idle / clock.seconds
            look = self._monitor.look(encoder) if clock.looking else None
            row |= {"embedding/effective_rank": self._monitor.effective_rank(encoder)} if look is None else look.metrics
            self._log.write(row)
        if look is None:
            return {}
        self._look = look
        self._console.print(summary.progress_line(clock.step, row, look))
        with clock.spent("drawing"):
            if self._config.monitor.figures and not clock.finished:  # the last figure is drawn by `finish`
                self._draw(look, encoder, clock.step)
        return row

    def finish(self, clock: Clock, encoder: Encoder, best_step: int | None) -> dict[str, Any]:
        """Draw the final figures, write the summary and return it, as in the base class."""
        result = self._config.checkpoint.result == "best" and best_step is not None
        step = best_step if result and best_step is not None else clock.step
        if encoder.maps:
            weights = self._monitor.member_weights(encoder)
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
        found |= {f"{name}_untrained": v for name, v in self._untrained.items() if name.startswith(COMPARED_METRICS)}
        found |= self._monitor.principal_components(encoder.dim)
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
