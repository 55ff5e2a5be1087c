"""Configs in files of every kind, and what is said about files that hold none."""

from pathlib import Path

import pytest

from jepa_jax import config as cfg
from jepa_jax.config import Config
from jepa_jax.config_json import to_json
from jepa_jax.errors import ConfigError
from jepa_jax.run_dir import write_config
from train.__main__ import main
from train.config_files import find_config

WANTED = Config(
    steps=5, data=cfg.Data("moons", noise=0.5), encoder=cfg.MLP(widths=(8, 9)), optim=cfg.Optim(lr=1e-3, ema=0.5)
)
TOML = """
steps = 5
[data]
source = "moons"
noise = 0.5
[encoder]
kind = "mlp"
widths = [8, 9]
[optim]
lr = 1e-3
ema = 0.5
"""
YAML = """
steps: 5
data: {source: moons, noise: 0.5}
encoder:
  kind: mlp
  widths: [8, 9]
optim:
  lr: 1e-3
  ema: 5.e-1
"""
PYTHON = f"""
from jepa_jax.config_json import from_json

def get_config():
    return from_json({to_json(WANTED)!r})
"""


@pytest.mark.parametrize(
    ("name", "text"),
    [("a.json", to_json(WANTED)), ("a.toml", TOML), ("a.yaml", YAML), ("a.yml", YAML), ("a.py", PYTHON)],
)
def test_every_kind_of_file(name: str, text: str, tmp_path: Path) -> None:
    folder = tmp_path / "my configs \N{SNOWMAN}"
    folder.mkdir()
    (folder / name).write_text(text, encoding="utf-8")
    assert find_config(str(folder / name)) == ("a", WANTED)


def test_the_config_of_a_run_under_any_name(tmp_path: Path) -> None:
    write_config(tmp_path, WANTED, (2,))
    assert find_config(str(tmp_path / "config.json")) == (tmp_path.name, WANTED)
    (tmp_path / "config.json").rename(tmp_path / "mine.json")
    assert find_config(str(tmp_path / "mine.json")) == ("mine", WANTED)


def test_a_printed_config_can_be_edited_and_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["mixture_2d", "--seed", "7", "--encoder.kind", "triangular", "--print-config"]
    assert main(args) == 0
    (tmp_path / "mine.json").write_text(capsys.readouterr().out.replace('"seed": 7', '"seed": 8'))
    config = find_config(str(tmp_path / "mine.json"))[1]
    assert (config.seed, config.steps, config.encoder.kind) == (8, 3000, "triangular")


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.json", "{", "the config is not JSON"),
        ("a.json", "\xff", "'utf-8' codec"),
        ("a.json", "", "the config is empty"),
        ("a.yaml", "\n", "the config is empty"),
        ("a.toml", "steps = ", "the config is not TOML"),
        ("a.toml", "steps = 1979-05-27", "config.steps is datetime.date"),
        ("a.toml", "step = 5", "did you mean steps"),
        ("a.yaml", "[", "the config is not YAML"),
        ("a.yaml", "[" * 3000, "too many levels"),
        ("a.yaml", "steps: 5\n1: 2\n", "unknown field config.1"),
        ("a.yaml", "a: &a [1]\nb: *a\n", "alias"),
        ("a.yaml", "!!python/object/apply:os.getcwd []", "the config is not YAML"),
        ("a.py", "x = (", "SyntaxError"),
        ("a.py", "1 / 0", "ZeroDivisionError: division by zero"),
        ("a.py", "x = 1", "no function get_config()"),
        ("a.py", "def get_config(): return 3", "returns int, not a jepa_jax.config.Config"),
        ("a.py", "from jepa_jax.config import Config\ndef get_config(): return Config(steps=0)", "`steps` is 0"),
        ("a.txt", "steps: 5", "a file of your own ends in .json, .toml, .yaml, .yml, .py"),
    ],
)
def test_files_that_hold_no_config(name: str, text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(text.encode("latin1"))
    with pytest.raises(ConfigError) as caught:
        find_config(str(tmp_path / name))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_shell_completion_knows_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    for args in (["mixture_2d", "--tyro-print-completion", "bash"], ["--tyro-print-completion", "bash"]):
        with pytest.raises(SystemExit) as stop:
            main(args)
        assert stop.value.code in (0, None)
        script = capsys.readouterr().out
        assert "--data.batch-size" in script
        assert "jepa-train" in script
