"""Values derived from the contestants' results: medians, ratios, distances of scores, and the goals of a case."""

from typing import Any

import numpy as np

from benchmarks.score_speed.cases import SINGLE, TOY_SAMPLES, Case

MAX_NATS = 1.0  # distance from float32 up to which a precision counts for `fastest`


def summarise(row: dict[str, Any], case: Case) -> None:
    """Add medians, ratios, rates, the fastest precision and the goals to the row of a case."""
    found = row["contestants"]
    mine = found.get("ours", {})
    for result in found.values():
        if "failed" in result:
            continue
        median = result["seconds_per_sample"] = float(np.median(result["seconds"]))
        result["nominal_rate"] = row["nominal_flops"] / median
        result["fraction"] = result["nominal_rate"] / result["matmul_rate"]
        if "flops" in result:
            result["used"] = result["flops"] / median / result["matmul_rate"]
        if "seconds" in mine:
            result["ratio"] = median / float(np.median(mine["seconds"]))
    good = [n for n in found if n.startswith("ours") and found[n].get("nats_from_float32") is not None]
    good = [n for n in good if found[n]["nats_from_float32"] <= MAX_NATS]
    row["fastest"] = min(good, key=lambda n: found[n]["seconds_per_sample"], default="none")
    row["bars"] = bars(row, case)


def distance(scores: list[float], others: list[float] | None) -> float | None:
    """Return the largest distance, in nats, over the samples that both have; NaN if any is NaN, None without others."""
    if not others:
        return None
    count = min(len(scores), len(others))
    return float(np.max(np.abs(np.subtract(scores[:count], others[:count]))))


def bars(row: dict[str, Any], case: Case) -> list[dict[str, Any]]:
    """Return the goals of a case on its platform.

    Each has `text`, the measured `value`, the goal `bar`, `at_most` (whether the goal is an upper bound) and `reached`.
    `value` and `reached` are None if the value was not measured.
    """
    mine, listing = row["contestants"].get("ours", {}), row["contestants"].get("listing", {})
    single, fastest = row["contestants"].get(SINGLE, {}), row["contestants"].get(row["fastest"], {})
    goals: dict[tuple[str, str], list[tuple[str, float | None, float, bool]]] = {
        ("cpu", "toy"): [
            ("speed as a multiple of the listing's", times_as_fast(mine, listing), 20.0, False),
            ("seconds for 100,000 samples, compilation included", mine.get("first_seconds"), 10.0, True),
        ],
        ("cpu", "vit_s_98"): [
            (f"speed of {row['fastest']} as a multiple of the listing's", times_as_fast(fastest, listing), 2.0, False),
            (
                f"speed of {row['fastest']} as a multiple of the listing's, one image at a time",
                times_as_fast(fastest, single),
                3.0,
                False,
            ),
            ("used share of the matrix-product rate", fastest.get("used"), 0.8, False),
        ],
        ("cpu", "vit_b_224"): [("process memory in GB", gigabytes(mine), 6.0, True)],
        ("gpu", "vit_s_224"): [
            ("speed in float32 as a multiple of the listing's", times_as_fast(mine, listing), 30.0, False),
            (
                f"speed of {row['fastest']} as a multiple of the listing's",
                times_as_fast(fastest, listing),
                100.0,
                False,
            ),
        ],
    }
    found = goals.get((row["platform"], row["case"]), [])
    if row["case"] == "toy" and row["samples"] < TOY_SAMPLES:
        found = []  # the goals are for TOY_SAMPLES samples
    return [
        {
            "text": f"{case.label}: {text}",
            "value": value,
            "bar": bar,
            "at_most": at_most,
            "reached": None if value is None else bool(value <= bar if at_most else value >= bar),
        }
        for text, value, bar, at_most in found
    ]


def times_as_fast(result: dict[str, Any], other: dict[str, Any]) -> float | None:
    """Return how many times as fast as another a contestant is, or None if one of them was not measured."""
    mine, theirs = result.get("seconds_per_sample"), other.get("seconds_per_sample")
    return None if mine is None or theirs is None else theirs / mine


def gigabytes(result: dict[str, Any]) -> float | None:
    """Return the peak memory in GB, or None if it was not measured."""
    return result["memory"] / 1e9 if "memory" in result else None
