"""The folder of a run: whose it is, what is found out before it is claimed, and how a run goes on in it."""

import dataclasses
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from jepa_jax.config import Config, Data, Objective, Optim
from jepa_jax.data import Source, open_source
from jepa_jax.distributed import check_devices
from jepa_jax.errors import ConfigError
from jepa_jax.progress import Pulse, duration
from jepa_jax.resolve import resolve
from jepa_jax.run_dir import read_config
from tests.helpers.runs import CHECKPOINTED, SMALL, TrainedRuns
from tests.programs.test_train import rows_without_time, same_weights
from train import __main__ as program
from train.claim import check_folder, claim, locked
from train.labels import open_labels
from train.log import MetricsLog, read_rows
from train.loop import train
from train.summary import print_summary, progress_line

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # see `no_orphans`
QUIET = Console(file=io.StringIO())


@pytest.fixture
def run(runs: TrainedRuns, tmp_path: Path) -> Path:
    """A finished run on a file, two steps long, and the file beside it."""
    out = Path(shutil.copytree(runs / "vectors", tmp_path / "run"))
    shutil.copy(runs.folder / "5.npz", tmp_path / "x.npz")
    return out


def opened(run: Path, **changes) -> tuple[Config, Source]:
    """The resolved config of the run with changes, and its data."""
    config = read_config(run)[0]
    for name, value in changes.items():
        section, _, field = name.partition("__")
        part = dataclasses.replace(getattr(config, section), **{field: value}) if field else value
        config = dataclasses.replace(config, **{section: part})
    source = open_source(config.data)
    return resolve(config, source), source


def write(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    with np.load(path) as file:
        np.savez(path, x=change(file["x"]))


def test_the_same_config_may_go_on(run: Path) -> None:
    assert check_folder(run, *opened(run)) is None


def test_the_same_samples_may_have_another_name(run: Path) -> None:
    config, source = opened(run, data__source=str(run.parent / "x.npz"))
    assert check_folder(run, config, source) is None
    (run / "statistics.npz").unlink()  # a run of jepa_jax 0.1, of whose data nothing is known
    with pytest.raises(ConfigError, match=r"data\.source is"):
        check_folder(run, config, source)


@pytest.mark.parametrize(
    "change",
    [lambda x: x + 1e-3, lambda x: x[::-1], lambda x: np.r_[x[:-1], x[:1]]],
    ids=["shifted", "in another order", "one row"],
)
def test_other_samples_are_refused(run: Path, change: Callable) -> None:
    write(run.parent / "x.npz", change)
    before = {p: p.read_bytes() for p in run.rglob("*") if p.is_file()}
    config, source = opened(run, data__source=str(run.parent / "x.npz"))
    shutil.copy(run / "config.json", run / "was.json")
    text = json.loads((run / "config.json").read_text())
    text["data"]["source"] = config.data.source
    (run / "config.json").write_text(json.dumps(text))
    with pytest.raises(ConfigError, match="holds other samples than when the run in"):
        check_folder(run, config, source)
    (run / "was.json").rename(run / "config.json")
    assert {p: p.read_bytes() for p in run.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"data__batch_size": 8}, "data.batch_size is 16 there, 8 here"),
        ({"seed": 5}, "seed is 0 there, 5 here"),
        ({"steps": 1}, "steps is 2 there, 1 here"),
        ({"steps": 9, "seed": 5}, "(seed is 0 there, 5 here)"),
    ],
)
def test_another_config_is_refused(run: Path, changes: dict, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_folder(run, *opened(run, **changes))
    assert says in str(caught.value)


def test_more_steps_are_said(run: Path) -> None:
    said = check_folder(run, *opened(run, steps=4))
    assert said is not None
    assert "was to take 2 steps and now takes 4: from step 2 on" in said
    assert "50% of its peak" in said  # the middle of a cosine


def emptied(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")


def replaced(run: Path, text: str, *files: str) -> None:
    emptied(run)
    (run / "config.json").write_text(text)
    for name in files:
        (run / name).touch()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (emptied, None),
        (lambda run: replaced(run, ""), None),  # as a crash leaves it
        (lambda run: (run / "config.json").write_text(""), "config.json is damaged"),
        (lambda run: replaced(run, '{"model_type": "vit"}'), "holds another model"),
        (lambda run: replaced(run, '{"model_type": "vit"}', "model.safetensors"), "holds another model"),
        (lambda run: replaced(run, "{"), "config.json is damaged"),
    ],
    ids=["no checkpoint", "no checkpoint, empty", "empty", "hugging face", "its weights", "half"],
)
def test_a_folder_without_a_checkpoint_belongs_to_nobody(run: Path, change: Callable, says: str | None) -> None:
    change(run)
    config, source = opened_anew(run, seed=7)
    if says:
        with pytest.raises(ConfigError, match=says):
            check_folder(run, config, source)
        return
    (run / "figures" / "density_0000001.png").touch()
    assert check_folder(run, config, source) is None
    claim(run, config, source)
    assert read_config(run)[0].seed == 7
    assert not list((run / "figures").glob("density_*"))


def opened_anew(run: Path, **changes) -> tuple[Config, Source]:
    """As `opened`, of a run whose config.json may be damaged."""
    from tests.helpers.runs import CONFIGS

    config = dataclasses.replace(CONFIGS["vectors"](run.parent), **changes)
    source = open_source(config.data)
    return resolve(config, source), source


def test_a_second_program_in_the_folder_is_refused(tmp_path: Path) -> None:
    refused = pytest.raises(ConfigError, match="another program trains in")
    with locked(tmp_path), refused, locked(tmp_path):
        pass
    with locked(tmp_path):  # the lock ends with its program, and leaves nothing behind
        assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--checkpoint.best", "density/spearmann"], "did you mean density/spearman"),
        (["--monitor.against", "rotated"], "--monitor.against: rotated needs square images"),
        (["--monitor.labels", "True"], "--monitor.labels needs labels and held-out samples"),
        (["--data.source", "missing.npz"], "missing.npz does not exist"),
        (["--views.kind", "crops"], "needs square images"),
        (["--density.law", "knn", "--data.source", "few.npz"], "needs at least"),
        (["--optim.accumulate", "3"], "a batch of 32 cannot be divided"),
    ],
)
def test_what_is_wrong_is_found_before_the_folder_is_claimed(args, says, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    np.savez("few.npz", x=np.random.default_rng(0).standard_normal((4, 2)))
    quick = ["--encoder.widths", "16", "--encoder.dim", "8", "--monitor.probes", "64", "--data.batch-size", "32"]
    assert program.main(["mixture_2d", *quick, "--out", "out", *args]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert says in error
    assert not list((tmp_path / "out").rglob("*"))


def test_a_longer_run_is_sane_and_resumes_to_the_bit(runs: TrainedRuns, tmp_path: Path, monkeypatch) -> None:
    """40 steps and then 80, in one go and with a crash in between."""
    more = dataclasses.replace(CHECKPOINTED, steps=80)
    for name in ("whole", "cut"):
        shutil.copytree(runs / "checkpointed", tmp_path / name)
    said = io.StringIO()
    train(more, tmp_path / "whole", Console(file=said, soft_wrap=True))
    assert "was to take 40 steps and now takes 80: from step 40 on" in said.getvalue()
    rows = read_rows(tmp_path / "whole" / "metrics.jsonl")
    assert [row["step"] for row in rows] == [10, 20, 30, 40, 50, 60, 70, 80]
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert not same_weights(runs / "checkpointed", tmp_path / "whole")

    original = MetricsLog.write

    def dies_at_70(self, row):
        original(self, row)
        if row["step"] == 70:
            raise KeyboardInterrupt

    monkeypatch.setattr(MetricsLog, "write", dies_at_70)
    with pytest.raises(KeyboardInterrupt):
        train(more, tmp_path / "cut", QUIET)
    monkeypatch.undo()
    train(more, tmp_path / "cut", QUIET)
    assert rows_without_time(tmp_path / "cut") == rows_without_time(tmp_path / "whole")
    assert same_weights(tmp_path / "cut", tmp_path / "whole")


@pytest.mark.parametrize(
    ("added", "kept"),
    [(b'{"step": 50, "lo', 4), (b"[1]\n3\n", 4), (b"\xff\xfe\x00\n", 4), (b'{"step": "x"}\n', 4), (b"[" * 9999, 4)],
)
def test_what_a_crash_leaves_in_the_metrics_is_dropped(added, kept, runs: TrainedRuns, tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes((runs / "checkpointed" / "metrics.jsonl").read_bytes() + added)
    assert len(read_rows(path)) == kept


def test_a_line_a_minute_where_there_is_no_bar(monkeypatch) -> None:
    said, now = io.StringIO(), [0.0]
    monkeypatch.setattr("jepa_jax.progress.time.monotonic", lambda: now[0])
    pulse = Pulse(Console(file=said), 100, 1000)
    for second in range(0, 181, 20):
        now[0] = second
        pulse.beat(100 + 5 * second)
    assert said.getvalue().splitlines() == [
        "step 400 of 1000, about 2 min left",
        "step 700 of 1000, about 60 s left",
        "step 1000 of 1000, about 0 s left",
    ]
    assert [duration(s) for s in (5, 400, 9000)] == ["5 s", "7 min", "2.5 h"]


@pytest.mark.parametrize(
    ("label", "holdout", "says"),
    [
        (np.arange(40) % 2, 0.5, ""),
        (np.zeros(40), 0.5, "all labels of .* are the same"),  # one class, which any answer would get right
        (np.arange(40) % 2, 0.05, "has [0-9] samples with a label, of 10 at least"),
        (np.where(np.arange(40) < 35, -1, np.arange(40) % 2), 0.5, "samples with a label"),
        (np.full(40, -1), 0.5, "does not have both"),
        (np.arange(40) + 0.5, 0.5, "does not have both"),
        (np.arange(40) % 2, 0.0, "does not have both"),
    ],
    ids=["enough", "one class", "few held out", "few labels", "no label", "measurements", "none held out"],
)
def test_accuracy_needs_labels_that_support_it(label, holdout, says, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).standard_normal((40, 2)), label=label)
    config = dataclasses.replace(Config(), data=Data(str(tmp_path / "x.npz"), batch_size=4, holdout=holdout))
    source = open_source(config.data)
    found = open_labels(config, source)
    assert (found is None) == bool(says)
    if says:
        asked = dataclasses.replace(config, monitor=dataclasses.replace(config.monitor, labels=True))
        with pytest.raises(ConfigError, match=says):
            open_labels(asked, source)


def test_advice_is_given_once(runs: TrainedRuns, tmp_path: Path) -> None:
    """Four looks with the same verdict, of which the first says what to do."""
    config = dataclasses.replace(
        CHECKPOINTED,
        objective=Objective(anti_collapse="none"),
        optim=Optim(lr=1e-2, warmup_steps=0),
        monitor=dataclasses.replace(CHECKPOINTED.monitor, every=10),
        steps=120,
    )
    said = io.StringIO()
    train(config, tmp_path / "run", Console(file=said, soft_wrap=True))
    lines = [line for line in said.getvalue().splitlines() if line.startswith("step")]
    verdicts = [row["health"] for row in read_rows(tmp_path / "run" / "metrics.jsonl")]
    changes = [now != before for before, now in zip([None, *verdicts], verdicts, strict=False)]
    assert ["; " in line for line in lines] == changes
    assert len(lines) > sum(changes) > 0


def test_a_notebooks_backend_and_a_missing_device(monkeypatch) -> None:
    """Figures in files need no backend, so that one which is not installed here is no error."""
    environment = os.environ | {"MPLBACKEND": "of_a_notebook"}
    code = (
        "import sys, jepa_jax.plots as p, os; p.Figure(); print(os.environ['MPLBACKEND'], 'matplotlib' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    assert found.stdout.split() == ["of_a_notebook", "True"], found.stderr

    def none() -> None:
        raise AssertionError

    monkeypatch.setattr("jax.devices", none)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(ConfigError, match="no device for JAX_PLATFORMS=cuda; leave it out, or set it to cpu"):
        check_devices()


def test_a_number_that_is_not_finite_is_not_printed(capsys) -> None:
    nan = float("nan")
    summary = {"step": 9, "law": "normal", "health_sentence": "x", "density/spearman": nan, "probe/linear": 0.5}
    summary |= {"density/log_density_spearman": 0.25, "density/log_density_spearman_untrained": nan, "best_step": None}
    print_summary(summary | {"probe/knn": nan}, Path("out"), "moons", ("score",))
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "Spearman of the corrected log-density: 0.2500"
    assert said[1].startswith("Linear probe on held-out samples: 0.500")
    row = {"loss": 1.0, "density/spearman": nan, "density/score_mean": -2.0}
    assert progress_line(3, row, "verdict") == "step      3  loss 1.0000  mean score -2.0 nats  verdict"


def test_three_rows_are_trained_on_and_nothing_is_said_of_them(tmp_path: Path, capsys) -> None:
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(0).standard_normal((3, 2)), log_density=np.arange(3.0))
    config = dataclasses.replace(SMALL, steps=2, data=Data(str(tmp_path / "x.npz")))
    config = dataclasses.replace(config, monitor=dataclasses.replace(config.monitor, figures=True))
    lines = io.StringIO()
    summary = train(config, tmp_path / "run", Console(file=lines, soft_wrap=True))
    print_summary(summary, tmp_path / "run", "x.npz", ("score",))
    assert summary["verdict"] == "few-rows"
    said = lines.getvalue() + capsys.readouterr().out
    assert said.count("3 samples are too few") == 1
    assert not [name for name in summary if "spearman" in name or name.startswith(("probe/", "auroc/"))]
    assert (tmp_path / "run" / "figures" / "density.png").exists()
