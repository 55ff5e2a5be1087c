"""The benchmark of scoring runs unattended, on its smallest case."""

import json

import pytest

pytest.importorskip("torch")

from benchmarks import score_speed
from benchmarks.report import flat, load_tree, save_tree

LISTED = ["--peers", "listing", "--repeats", "1"]


def test_the_smallest_case(tmp_path, capsys):
    """The agreement is real; times of a model this small say nothing."""
    assert score_speed.main(["--sizes", "tiny", "--samples", "2", *LISTED, "--out", str(tmp_path)]) == 0
    assert "a ViT for the tests: listing: " in capsys.readouterr().out
    [row] = json.loads((tmp_path / "score_speed.json").read_text())["cases"]
    mine, listing = row["contestants"]["ours"], row["contestants"]["listing"]
    assert mine["nats_from_float64"] < 0.01
    assert listing["ratio"] > 0
    assert min(mine["memory"], listing["memory"], mine["matmul_rate"], listing["matmul_rate"]) > 0
    assert row["reference"]["sigma_max"] > 1e3 * row["reference"]["sigma_min"] > 0
    text = (tmp_path / "score_speed.md").read_text()
    assert "| listing |" in text
    assert "null by construction" in text


def test_what_takes_too_long_is_reported_and_skipped(tmp_path, capsys):
    assert score_speed.main(["--sizes", "tiny", *LISTED, "--limit-seconds", "1", "--out", str(tmp_path)]) == 1
    assert "listing: not done within 1 s" in capsys.readouterr().out
    [row] = json.loads((tmp_path / "score_speed.json").read_text())["cases"]
    assert set(row["contestants"]) == {"ours", "listing"}


def test_wrong_names_are_refused(capsys):
    assert score_speed.main(["--sizes", "vit_s_89"]) == 2
    assert "did you mean vit_s_98" in capsys.readouterr().err
    assert score_speed.main(["--samples", "0"]) == 2
    assert "must be at least 1" in capsys.readouterr().err


def test_bars_on_both_platforms():
    fast = {"seconds_per_sample": 1.0, "fraction": 0.5, "memory": 5e9, "first_seconds": 11.0}
    found = {"ours": fast, "ours tf32": {"seconds_per_sample": 0.5}, "listing": {"seconds_per_sample": 60.0}}

    def verdicts(platform, case):
        row = {"platform": platform, "case": case, "samples": 100_000, "contestants": found, "fastest": "ours tf32"}
        return [bar["reached"] for bar in score_speed.bars(row, score_speed.CASES[case])]

    assert verdicts("cpu", "vit_s_98") == [True, False]
    assert verdicts("cpu", "toy") == [True, False]
    assert verdicts("cpu", "vit_b_224") == [True]
    assert verdicts("gpu", "vit_s_224") == [True, True]
    assert verdicts("gpu", "vit_s_98") == []


def test_a_tree_survives_its_file(tmp_path):
    tree = score_speed.random_vit(score_speed.np.random.default_rng(0), 28, 14, 32, 2, 2)
    save_tree(tmp_path / "params.npz", tree)
    assert flat(load_tree(tmp_path / "params.npz")).keys() == flat(tree).keys()
