"""Parts of a chart: shapes in inline SVG, which stretch, and text in HTML, which keeps its size at any width.

A plot has 100 by 100 units: positions are in percent of its width and height.
"""

from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import LogLocator, MaxNLocator


@dataclass(frozen=True)
class Axis:
    """Axis of a plot.

    Attributes:
      label: Quantity and unit.
      low: Lower end.
      high: Upper end.
      log: Whether the axis is logarithmic.
      whole: Whether its ticks must be integers.
    """

    label: str
    low: float
    high: float
    log: bool = False
    whole: bool = False

    def at(self, values: np.ndarray | float) -> np.ndarray:
        """Return the positions of values, in percent."""
        scale = np.log10 if self.log else np.asarray
        low, high = scale(self.low), scale(self.high)
        return 100 * (scale(values) - low) / (high - low)

    def ticks(self) -> list[float]:
        """Return a few round values between the ends."""
        if self.log:
            few = np.log10(self.high / self.low) < 2
            found = LogLocator(subs=(1, 2, 5) if few else (1,), numticks=6).tick_values(self.low, self.high)
        else:
            found = MaxNLocator(5, steps=[1, 2, 5, 10], integer=self.whole).tick_values(self.low, self.high)
        return [float(value) for value in found if self.low <= value <= self.high]


def spanning(label: str, low: float, high: float) -> Axis:
    """Return a linear axis from low to high, also if these are equal."""
    return Axis(label, low, high) if high > low else Axis(label, low - 0.5, low + 0.5)


def number(value: float, form: str = ".4g") -> str:
    """Format a number with a typographic minus sign."""
    return f"{value:{form}}".replace("-", "\N{MINUS SIGN}")


def chart(title: str, said: str, x: Axis, y: Axis, shapes: list[str], attributes: str = "") -> str:
    """Draw a figure: a heading, a caption, and the plot with its axes.

    Args:
      title: Heading.
      said: Caption.
      x: Horizontal axis.
      y: Vertical axis.
      shapes: SVG elements.
      attributes: HTML attributes of the figure.
    """
    grid = [f'<path class="grid" d="M0 {100 - y.at(tick):.2f}H100"/>' for tick in y.ticks()]
    labels = "".join(f'<span style="bottom:{y.at(tick):.2f}%">{number(tick)}</span>' for tick in y.ticks())
    return (
        f'<figure class="chart" {attributes}><figcaption><h3>{title}</h3><p>{said}</p></figcaption>'
        f'<p class="axis">{y.label}</p><div class="plot"><div class="y" aria-hidden="true">{labels}</div>'
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="{title}">'
        f"{''.join(grid + shapes)}</svg>{x_ticks(x)}</div>"
        f"{foot(x)}</figure>"
    )


def x_ticks(x: Axis) -> str:
    """Draw the tick labels below a plot."""
    spans = "".join(f'<span style="left:{x.at(tick):.2f}%">{number(tick)}</span>' for tick in x.ticks())
    return f'<div class="x" aria-hidden="true">{spans}</div>'


def foot(x: Axis) -> str:
    """Draw the line below a plot: the space for the tip at the pointer, which the script fills, and the axis label."""
    return f'<div class="foot"><output class="tip"></output><span class="axis">{x.label}</span></div>'


def key(name: str, said: str) -> str:
    """Draw an entry of a legend."""
    return f'<span class="entry"><i class="key {name}"></i> {said}</span>'


def hit(left: float, width: float) -> str:
    """Draw an invisible area of the whole height of the plot, which the pointer hits."""
    return f'<rect class="hit" x="{left:.2f}" y="0" width="{width:.2f}" height="100"/>'


def line(xs: np.ndarray, ys: np.ndarray, start: str = "M") -> str:
    """Return the path data of a line through points in percent."""
    points = [f"{x:.2f} {100 - y:.2f}" for x, y in zip(xs, ys, strict=True)]
    return start + "L".join(points)


def dots(xs: np.ndarray, ys: np.ndarray) -> str:
    """Draw round dots as strokes of zero length, which keep their shape although the plot stretches."""
    paths = (f'<path d="M{x:.2f} {100 - y:.2f}h0"/>' for x, y in zip(xs, ys, strict=True))
    return f'<g class="dots">{"".join(paths)}</g>'
