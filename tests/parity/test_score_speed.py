"""The benchmark of scoring runs unattended, on its smallest case."""

import json

import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks.report import device_slug, flat, load_tree, save_tree
from benchmarks.score_speed.__main__ import main
from benchmarks.score_speed.cases import CASES
from benchmarks.score_speed.summary import bars
from benchmarks.score_speed.tables import remarks
from benchmarks.score_speed.weights import random_vit
from score.workers import cores
from tests.helpers import ROOT

LISTED = ["--peers", "listing", "--repeats", "1"]
LONGEST_LIST = 64


def lengths(tree):
    """The lengths of all lists in a JSON tree."""
    if isinstance(tree, list):
        yield len(tree)
    for child in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from lengths(child)


def test_the_smallest_case(tmp_path, capsys):
    """The agreement is real; times of a model this small say nothing."""
    assert main(["--sizes", "tiny", "--samples", "2", *LISTED, "--out", str(tmp_path)]) == 0
    assert "a ViT for the tests: listing: " in capsys.readouterr().out
    tree = json.loads((tmp_path / "cpu" / "score_speed.json").read_text())
    assert max(lengths(tree)) <= LONGEST_LIST
    [row] = tree["cases"]
    mine, listing = row["contestants"]["ours"], row["contestants"]["listing"]
    assert mine["nats_from_float64"] < 0.01
    assert mine["nats_from_float32"] == 0
    assert listing["ratio"] > 0
    assert min(mine["memory"], listing["memory"], mine["matmul_rate"], listing["matmul_rate"]) > 0
    assert 0 < mine["used"] < 1.2 * mine["fraction"]  # less arithmetic than K gradients, but for the spectrum
    assert row["contestants"]["listing single"]["about"].startswith("batch 1, ")
    assert row["reference"]["sigma_max"] > 1e3 * row["reference"]["sigma_min"] > 0
    text = (tmp_path / "cpu" / "score_speed.md").read_text()
    assert "| listing |" in text
    assert "null by construction" in text


def test_no_scores_are_written(tmp_path):
    """Only their distances are; the toy has more samples than a list may be long."""
    assert main(["--sizes", "toy", "--samples", "100", *LISTED, "--out", str(tmp_path)]) == 0
    tree = json.loads((tmp_path / "cpu" / "score_speed.json").read_text())
    assert max(lengths(tree)) <= LONGEST_LIST
    assert tree["cases"][0]["samples"] == 100
    assert tree["cases"][0]["contestants"]["ours"]["nats_from_float64"] < 0.01


def test_what_takes_too_long_is_reported_and_skipped(tmp_path, capsys):
    assert main(["--sizes", "tiny", *LISTED, "--limit-seconds", "1", "--out", str(tmp_path)]) == 1
    assert "listing: not done within 1 s" in capsys.readouterr().out
    [row] = json.loads((tmp_path / "cpu" / "score_speed.json").read_text())["cases"]
    several = {"ours processes"} if len(cores()) > 1 else set()
    assert set(row["contestants"]) == {"ours", "listing", "listing single"} | several


def test_wrong_names_are_refused(capsys):
    assert main(["--sizes", "vit_s_89"]) == 2
    assert "did you mean vit_s_98" in capsys.readouterr().err
    assert main(["--samples", "0"]) == 2
    assert "must be at least 1" in capsys.readouterr().err


def test_bars_on_both_platforms():
    fast = {"seconds_per_sample": 1.0, "memory": 5e9, "first_seconds": 11.0}
    narrow = {"seconds_per_sample": 0.5, "used": 0.7}
    found = {"ours": fast, "ours tf32": narrow, "listing": {"seconds_per_sample": 60.0}}
    found["listing single"] = {"seconds_per_sample": 1.4}

    def reached(platform, case):
        row = {"platform": platform, "case": case, "samples": 100_000, "contestants": found, "fastest": "ours tf32"}
        return [bar["reached"] for bar in bars(row, CASES[case])]

    assert reached("cpu", "vit_s_98") == [True, False, False]
    assert reached("cpu", "toy") == [True, False]
    assert reached("cpu", "vit_b_224") == [True]
    assert reached("gpu", "vit_s_224") == [True, True]
    assert reached("gpu", "vit_s_98") == []


def test_goals_are_shown_beside_the_values():
    row = {"platform": "cpu", "case": "vit_s_98", "samples": 4, "fastest": "ours", "contestants": {"ours": {}}}
    row["bars"] = bars({**row, "contestants": {"ours": {"used": 0.5}}}, CASES["vit_s_98"])
    lines = remarks({**row, "contestants": {}})
    assert "ViT-S/14, 98 px: used share of the matrix-product rate: 0.5 (goal: at least 0.8)" in lines
    assert "ViT-S/14, 98 px: speed of ours as a multiple of the listing's: not measured (goal: at least 2)" in lines


def test_a_tree_survives_its_file(tmp_path):
    tree = random_vit(np.random.default_rng(0), 28, 14, 32, 2, 2)
    save_tree(tmp_path / "params.npz", tree)
    assert flat(load_tree(tmp_path / "params.npz")).keys() == flat(tree).keys()


def test_results_are_kept_by_device():
    assert device_slug("cpu") == "cpu"
    assert device_slug("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3"
    # What was compiled for devices that were not there, ahead.json, lies above the folders of devices.
    results = sorted((ROOT / "benchmarks" / "results").glob("*/*.json"))
    assert results
    for path in results:
        tree = json.loads(path.read_text())
        assert path.parent.name == device_slug(tree["about"]["device"])
        assert max(lengths(tree), default=0) <= LONGEST_LIST, path
