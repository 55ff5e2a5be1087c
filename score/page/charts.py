"""Charts of the page, each a function of arrays."""

from html import escape

import numpy as np

from jepa_jax import evaluate

from .plot import Axis, chart, dots, foot, hit, key, line, number, spanning, x_ticks

MAX_BINS = 60
MAX_CURVE_POINTS = 200
MAX_DOTS = 2000
MAX_CLASSES = 50
MIN_SINGULAR_VALUE = 1e-8  # smaller values are drawn here, because a logarithmic axis has no zero
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def bin_edges(score: np.ndarray) -> np.ndarray:
    """Return the edges of the bins of the histogram [bins + 1].

    Far outliers are counted in the first and the last bin, so that they do not compress the rest into one bar.
    """
    quarter, median, three = np.quantile(score, [0.25, 0.5, 0.75])
    inside = score[np.abs(score - median) <= (4 * (three - quarter) or np.inf)]
    return np.histogram_bin_edges(inside, int(np.clip(np.sqrt(len(score)), 10, MAX_BINS)))


def histogram(score: np.ndarray, digits: int) -> str:
    """Draw the histogram of the scores.

    The script of the page shrinks the inner bars to the samples in its table.

    Args:
      score: Scores [N] in nats.
      digits: Digits after the decimal point.
    """
    edges = bin_edges(score)
    counts, _ = np.histogram(np.clip(score, edges[0], edges[-1]), edges)
    x = spanning("JEPA-SCORE, nats", float(edges[0]), float(edges[-1]))
    y = Axis("samples", 0, 1.05 * float(counts.max()), whole=True)
    shapes = []
    width = 100 / len(counts)
    for i, count in enumerate(counts):
        low, high = (number(edge, f".{digits}f") for edge in edges[i : i + 2])
        where = f"{low} to {high}"
        if i == 0 and score.min() < edges[0]:
            where = f"below {high}"
        elif i == len(counts) - 1 and score.max() > edges[-1]:
            where = f"above {low}"
        height = float(y.at(count))
        bar = f'x="{i * width + 0.1:.2f}" y="{100 - height:.2f}" width="{width - 0.2:.2f}" height="{height:.2f}"'
        shapes.append(
            f'<g data-tip="{where} nats: {count:,} samples">{hit(i * width, width)}'
            f'<rect class="whole" {bar}/><rect class="part" {bar}/></g>'
        )
    below, above = int((score < edges[0]).sum()), int((score > edges[-1]).sum())
    said = "Number of samples by score. Solid: the samples in the table below."
    if below:
        said += f" The first bar also holds {below:,} below {number(edges[0], f'.{digits}f')}."
    if above:
        said += f" The last bar also holds {above:,} above {number(edges[-1], f'.{digits}f')}."
    attributes = f'id="histogram" data-low="{edges[0]:.9g}" data-high="{edges[-1]:.9g}"'
    return chart("Scores", said, x, y, shapes, attributes)


def spectrum(sigma: np.ndarray) -> str:
    """Draw the median and quantiles of singular values [n, R] by index."""
    sigma = np.maximum(sigma, MIN_SINGULAR_VALUE)
    index = np.unique(np.linspace(0, sigma.shape[1] - 1, MAX_CURVE_POINTS).round().astype(int))
    quantiles = np.quantile(sigma[:, index], QUANTILES, axis=0)
    x = Axis("index", 0.5, sigma.shape[1] + 0.5, whole=True)
    low, high = float(quantiles.min()), float(quantiles.max())
    y = Axis("singular value", low / 1.3, high * 1.3, log=True)
    xs, (least, lower, median, upper, most) = x.at(index + 1.0), y.at(quantiles)
    shapes = [
        f'<path class="wide" d="{line(xs, least)}{line(xs[::-1], most[::-1], "L")}Z"/>',
        f'<path class="narrow" d="{line(xs, lower)}{line(xs[::-1], upper[::-1], "L")}Z"/>',
        f'<path class="middle" d="{line(xs, median)}"/>',
    ]
    if len(index) <= 40:
        shapes.append(dots(xs, median))
    width = 100 / len(index)
    for i, at, (five, _, half, _, ninety_five) in zip(index, xs, quantiles.T, strict=True):
        tip = f"index {i + 1}: median {number(half)}, 5 to 95 % {number(five)} to {number(ninety_five)}"
        shapes.append(f'<g data-tip="{tip}">{hit(at - width / 2, width)}</g>')
    said = (
        f"Singular values of the Jacobian at {len(sigma):,} samples: "
        f"{key('middle', 'median')}, {key('narrow', '25 to 75 %')}, {key('wide', '5 to 95 %')}."
    )
    return chart("Spectrum", said, x, y, shapes)


def scatter(learned: np.ndarray, exact: np.ndarray, name: str) -> str:
    """Draw the learned against the exact log-density, shifted to the same mean, with the line of equality.

    Args:
      learned: Learned log-density [N] in nats.
      exact: Exact log-density [N] in nats.
      name: Name of the learned log-density, for its axis.
    """
    agreement = evaluate.agreement(learned, exact)
    learned = learned + np.mean(exact - learned)
    chosen = np.random.default_rng(0).permutation(len(exact))[:MAX_DOTS]
    margin = 0.02 * np.ptp(exact)
    x = spanning("exact log-density, nats", float(exact.min() - margin), float(exact.max() + margin))
    low, high = np.quantile(learned, [0.002, 0.998])
    y = spanning(f"{name}, shifted to the same mean, nats", min(low, x.low) - 0.5, max(high, x.high) + 0.5)
    ends = np.array([x.low, x.high])
    equal = f'<path class="equal" d="{line(x.at(ends), y.at(ends))}"/>'
    shapes = [dots(x.at(exact[chosen]), y.at(learned[chosen])), equal]
    said = (
        f"Spearman {number(agreement.spearman, '.3f')}, slope {number(agreement.slope, '.2f')}; dashed line: equality."
    )
    if np.isnan(agreement.spearman):
        said = "One of the two is constant; dashed line: equality."
    if len(exact) > MAX_DOTS:
        said += f" {MAX_DOTS:,} of {len(exact):,} samples are shown."
    return chart("Learned and exact log-density", said, x, y, shapes)


def boxes(score: np.ndarray, labels: np.ndarray, digits: int) -> str:
    """Draw a box plot of the scores of each class, highest median first; of many classes, only both ends.

    Args:
      score: Scores [N] in nats.
      labels: Class of each sample [N].
      digits: Digits after the decimal point.
    """
    names, index = np.unique(labels, return_inverse=True)
    counts = np.bincount(index)
    groups = np.split(score[np.argsort(index, kind="stable")], np.cumsum(counts)[:-1])
    quantiles = np.array([np.quantile(group, QUANTILES) for group in groups])
    shown = np.argsort(-quantiles[:, 2], kind="stable")
    said = (
        "Scores by class, highest median first: "
        f"{key('median', 'median')}, {key('box', '25 to 75 %')}, line: 5 to 95 %."
    )
    if len(names) > MAX_CLASSES:
        shown = np.r_[shown[: MAX_CLASSES // 2], shown[-(MAX_CLASSES // 2) :]]
        said += f" The {len(names) - MAX_CLASSES:,} classes in the middle are not shown."
    x = spanning("JEPA-SCORE, nats", quantiles[shown].min(), quantiles[shown].max())
    rows = [box(str(names[i]) or "(none)", int(counts[i]), quantiles[i], x, digits) for i in shown]
    head = "".join(f'<th scope="col">{name}</th>' for name in ("class", "samples", "median"))
    return (
        f'<figure class="chart all"><figcaption><h3>Classes</h3><p>{said}</p></figcaption>'
        f'<table class="classes"><thead><tr>{head}<td></td></tr></thead><tbody>{"".join(rows)}</tbody>'
        f"<tfoot><tr><td></td><td></td><td></td><td>{x_ticks(x)}</td></tr></tfoot></table>{foot(x)}</figure>"
    )


def box(name: str, count: int, quantiles: np.ndarray, x: Axis, digits: int) -> str:
    """Draw one row of the table of classes.

    Args:
      name: Name of the class.
      count: Number of its samples.
      quantiles: Quantiles of its scores, at QUANTILES.
      x: Axis of the scores.
      digits: Digits after the decimal point.
    """
    least, lower, median, upper, most = x.at(quantiles)
    said = [number(value, f".{digits}f") for value in quantiles]
    tip = f"{name}, {count:,} samples: 5 to 95 % {said[0]} to {said[4]}, 25 to 75 % {said[1]} to {said[3]}"
    grid = "".join(f'<path class="grid" d="M{x.at(tick):.2f} 0V100"/>' for tick in x.ticks())
    return (
        f'<tr data-tip="{escape(tip)}">'
        f'<th scope="row">{escape(name)}</th><td>{count:,}</td><td>{said[2]}</td>'
        f'<td><svg viewBox="0 0 100 100" preserveAspectRatio="none" aria-hidden="true">{grid}'
        f'<path class="whisker" d="M{least:.2f} 50H{most:.2f}"/>'
        f'<rect class="box" x="{lower:.2f}" y="22" width="{max(upper - lower, 0.3):.2f}" height="56"/>'
        f'<path class="median" d="M{median:.2f} 14V86"/></svg></td></tr>'
    )
