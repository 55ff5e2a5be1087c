"""Configs to JSON and back, command lines, what a config leaves open, and files."""

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import pytest

from jepa_jax import config as cfg
from jepa_jax.cli import as_flags, parse, renamed
from jepa_jax.config import Config
from jepa_jax.config_json import RENAMED_FIELDS, from_json, to_json
from jepa_jax.data import Source
from jepa_jax.errors import ConfigError, nearest
from jepa_jax.files import make_directory, write_atomically
from jepa_jax.objectives import TERMS
from jepa_jax.resolve import base_distribution, resolve

OTHER = Config(
    steps=7,
    data=cfg.Data("rows.npz", noise=0.5, rho=0.25, holdout=0.1),
    encoder=cfg.Conv(widths=(3, 2), dim=None, skip=True),
    recipe=cfg.Pair(predictor=(8,)),
    objective=cfg.Objective("sigreg", weight=2.0),
    optim=cfg.Optim(clip_norm=1.0),
    monitor=cfg.Monitor(figures=False),
)


def changed(dotted: str, value: Any) -> Config:
    section, _, name = dotted.rpartition(".")
    if not section:
        return replace(Config(), **{name: value})
    return replace(Config(), **{section: replace(getattr(Config(), section), **{name: value})})


@pytest.mark.parametrize("config", [Config(), OTHER])
def test_json_round_trip(config: Config) -> None:
    text = to_json(config)
    assert from_json(text) == config
    assert to_json(from_json(text)) == text
    assert isinstance(from_json(text).encoder.widths, tuple)


def test_json_fills_in_defaults_and_takes_whole_numbers_for_real_ones() -> None:
    assert from_json("{}") == Config()
    config = from_json('{"optim": {"lr": 1}}')
    assert config == changed("optim.lr", 1.0)
    assert isinstance(config.optim.lr, float)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "not JSON"),
        ("[]", "config should be an object"),
        ("null", "config should be an object"),
        ('{"data": 3}', "config.data should be an object"),
        ('{"step": 3}', "unknown field config.step; did you mean steps"),
        ('{"data": {"batchsize": 3}}', "config.data.batchsize; did you mean batch_size"),
        ('{"optim": {"zzzz": 3}}', "config.optim.zzzz; known: accumulate, clip_norm, compute, decay"),
        ('{"steps": "3"}', "config.steps is '3'"),
        ('{"steps": 3.5}', "config.steps is 3.5"),
        ('{"steps": true}', "config.steps is True"),
        ('{"steps": null}', "config.steps is None"),
        ('{"optim": {"lr": true}}', "config.optim.lr is True"),
        ('{"optim": {"lr": null}}', "config.optim.lr is None"),
        ('{"encoder": {"widths": 3}}', "config.encoder.widths is 3"),
        ('{"encoder": {"widths": [3, "a"]}}', "config.encoder.widths is 'a'"),
        ('{"encoder": {"skip": 1}}', "config.encoder.skip is 1"),
        ('{"encoder": {"kind": "cnov"}}', "config.encoder.kind is 'cnov'; did you mean conv"),
        ('{"encoder": {"dim": "16"}}', "config.encoder.dim is '16'"),
        ('{"encoder": {"kind": []}}', "config.encoder.kind is []"),
        ('{"objective": {"recipe": "pair"}, "recipe": 3}', "config.recipe should be an object, not 3"),
        ('{"steps": 1' + "0" * 5000 + "}", "not JSON"),
        ("[" * 99999, "not JSON"),
        ('{"steps": 100000000000000000000}', "`steps` is 100000000000000000000; it must be below"),
        ('{"steps": 3000000000}', "`steps` is 3000000000; it must be at least 1 and below 2^31"),
        ('{"seed": 100000000000000000000}', "`seed` is 100000000000000000000; it must be below 2^32"),
        ('{"seed": 4294967296}', "`seed` is 4294967296"),  # JAX would take it for 0
        ('{"seed": -2147483649}', "`seed` is -2147483649"),
        ('{"encoder": {"widths": [5000000000]}}', "`encoder.widths` is 5000000000; it must be below 2^32"),
    ],
)
def test_wrong_json(text: str, says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        from_json(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


NAN = float("nan")


@pytest.mark.parametrize(
    ("dotted", "bad", "good"),
    [
        ("steps", (0, -1), (1,)),
        ("data.batch_size", (0, 1), (2,)),
        ("data.noise", (-0.1, NAN), (None, 0.0)),
        ("data.rho", (-0.1, 1.0, NAN), (None, 0.0, 0.99)),
        ("data.shift", (-1,), (0, 3)),
        ("data.holdout", (-0.1, 1.0, NAN), (0.0, 0.99)),
        ("encoder.dim", (0,), (None, 1)),
        ("encoder.widths", ((0,), (8, -1)), ((), (1,))),
        ("recipe.predictor", ((0,),), ((), (1,))),
        ("objective.temperature", (0.0, -1.0, NAN), (None, 0.1)),
        ("objective.num_slices", (0,), (1,)),
        ("recipe.ema", (-0.1, 1.0, NAN), (0.0, 0.99)),
        ("optim.ema", (-0.1, 1.0, NAN), (0.0, 0.99)),
        ("optim.lr", (0.0, -1.0, NAN), (1e-9,)),
        ("optim.warmup_steps", (-1,), (0,)),
        ("optim.clip_norm", (0.0, -1.0, NAN), (None, 0.1)),
        ("monitor.every", (-1,), (0,)),
        ("monitor.probes", (7,), (8,)),
        ("monitor.eps", (0.0, -1.0, NAN), (1e-9,)),
        ("monitor.log_every", (0,), (1,)),
        ("checkpoint.every", (0,), (1,)),
        ("checkpoint.keep", (0,), (1,)),
    ],
)
def test_values_that_cannot_run(dotted: str, bad: tuple[Any, ...], good: tuple[Any, ...]) -> None:
    for value in good:
        changed(dotted, value)
    for value in bad:
        with pytest.raises(ConfigError) as caught:
            changed(dotted, value)
        assert str(caught.value).startswith(f"`{dotted}` is ")


@pytest.mark.parametrize(
    ("name", "says"),
    [("stpes", "; did you mean steps?"), ("q", "; known: other, steps"), ("othre", "; did you mean other?")],
)
def test_nearest(name: str, says: str) -> None:
    assert nearest(name, ["steps", "other"]) == says


@dataclass(frozen=True)
class Inner:
    depth_now: int = 1
    on: bool = True
    widths: tuple[int, ...] = (1, 2)


@dataclass(frozen=True)
class Outer:
    rate: float | None = None
    """How fast."""
    kind: Literal["round", "square"] = "round"
    inner: Inner = field(default_factory=Inner)


def line(*args: str, default: Any = None) -> Any:
    return parse(Outer, args, prog="p", description="d", default=default)


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ("", Outer()),
        ("--rate 0.5", Outer(rate=0.5)),
        ("--rate=0.5", Outer(rate=0.5)),
        ("--rate None", Outer()),
        ("--rate -1", Outer(rate=-1.0)),
        ("--kind square", Outer(kind="square")),
        ("--inner.depth-now 3", Outer(inner=Inner(3))),
        ("--inner.depth_now 3", Outer(inner=Inner(3))),
        ("--inner.no-on", Outer(inner=Inner(on=False))),
        ("--inner.widths 4 5 6", Outer(inner=Inner(widths=(4, 5, 6)))),
        ("--inner.widths", Outer(inner=Inner(widths=()))),
    ],
)
def test_command_line(args: str, expected: Outer) -> None:
    assert line(*args.split()) == expected


def test_command_line_keeps_the_defaults_it_is_given() -> None:
    default = Outer(0.25, "square", Inner(9, False, ()))
    assert line(default=default) == default
    assert line("--inner.on", default=default) == replace(default, inner=Inner(9, True, ()))


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ("--raet 1", ["unknown option --raet", "did you mean --rate"]),
        ("--inner.depth 1", ["unknown option --inner.depth", "--inner.depth-now"]),
        ("--depth-now=1", ["unknown option --depth-now", "--inner.depth-now"]),
        ("--kind sqare", ["--kind", "'sqare'", "did you mean square"]),
        ("--inner.depth-now many", ["--inner.depth-now", "many"]),
        ("--inner.depth-now 1.5", ["--inner.depth-now", "1.5"]),
        ("--inner.widths 1 a", ["--inner.widths", "a"]),
        ("--rate fast", ["--rate", "fast"]),
        ("--rate", ["--rate"]),
        ("stray", ["stray"]),
        ("--kind round a.npz", ["a.npz: no option takes this"]),
        ("--kind round a.npz b.npz c.npz d.npz", ["a.npz and 3 other words", "quote a pattern"]),
        ("--inner.on False", ["--inner.on takes no value; say --inner.no-on"]),
        ("--inner.on=0", ["--inner.on takes no value; say --inner.no-on"]),
        ("--inner.on true", ["--inner.on takes no value; say --inner.on"]),
    ],
)
def test_wrong_command_lines_are_one_line(args: str, says: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        line(*args.split())
    message = str(caught.value)
    assert all(part in message for part in says), message
    assert "\n" not in message
    assert capsys.readouterr() == ("", "")


def test_help_is_printed_and_ends_well(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        line("--help")
    assert caught.value.code == 0
    assert "How fast." in capsys.readouterr().out


def source(*shape: int) -> Any:
    """What resolve reads of a source."""
    nothing: Any = None
    return Source(shape, 0.1, 4, nothing, nothing, nothing, nothing, nothing, nothing)


@pytest.mark.parametrize("name", TERMS)
def test_resolve_fills_in_what_is_open(name: Any) -> None:
    config = Config(objective=cfg.Objective(name), encoder=cfg.MLP(dim=None))
    done = resolve(config, source(2))
    assert done.encoder.output == TERMS[name].output
    assert done.encoder.dim == 16
    assert done.objective.weight == TERMS[name].weight
    assert done.data.batch_size == 4
    assert base_distribution(done) == TERMS[name].base
    assert resolve(done, source(2)) == done
    assert from_json(json.dumps(json.loads(to_json(done)))) == done


@pytest.mark.parametrize(("shape", "dim"), [((2,), 16), ((8,), 32), ((32,), 128), ((16, 16, 1), 128)])
def test_resolve_chooses_the_width_by_the_data(shape: tuple[int, ...], dim: int) -> None:
    assert resolve(Config(encoder=cfg.MLP(dim=None)), source(*shape)).encoder.dim == dim
    assert resolve(Config(encoder=cfg.MLP(dim=5)), source(*shape)).encoder.dim == 5


def test_output_and_term_must_go_together() -> None:
    with pytest.raises(ConfigError, match=r"infonce acts on the sphere.*`encoder.output`"):
        resolve(Config(objective=cfg.Objective("infonce"), encoder=cfg.MLP(output="free")), source(2))
    forced = resolve(Config(objective=cfg.Objective("sigreg"), encoder=cfg.MLP(output="sphere")), source(2))
    assert forced.encoder.output == "sphere"
    assert base_distribution(forced) is None


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    seen = []

    def half(temporary: Path) -> None:
        seen.append(temporary)
        temporary.write_text("half")
        assert not path.exists() or path.read_text() == "old"
        raise KeyboardInterrupt

    for before in (None, "old"):
        if before:
            write_atomically(path, lambda temporary: temporary.write_text("old"))
        with pytest.raises(KeyboardInterrupt):
            write_atomically(path, half)
        assert [p.name for p in tmp_path.iterdir()] == (["a.json"] if before else [])
    assert path.read_text() == "old"
    assert {(p.parent, p.suffix) for p in seen} == {(tmp_path, ".json")}


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    make_directory(tmp_path / "a" / "b")
    make_directory(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()
    assert not list((tmp_path / "a" / "b").iterdir())
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "c"):
        with pytest.raises(ConfigError, match="`out`"):
            make_directory(path)


def test_a_config_of_jepa_jax_0_1() -> None:
    """One section held the options of all recipes, and one those of all encoders."""
    old = {
        "encoder": {"kind": "vit", "widths": [256], "dim": 8, "patch_size": 2, "skip": False},
        "views": {"kind": "noise", "global_views": 2},
        "objective": {"recipe": "masked", "ema": 0.9, "projector": [], "mask_blocks": 2, "weight": 0.5},
        "optim": {"average": 0.99},
    }
    config = from_json(json.dumps(old))
    assert config.encoder == cfg.ViT(dim=8, patch_size=2)
    assert config.recipe == cfg.Masked(ema=0.9, mask=cfg.Blocks(targets=2))
    assert (config.objective.weight, config.optim.ema) == (0.5, 0.99)
    assert from_json('{"objective": {"recipe": "distill", "temperature": 0.2}}').recipe == cfg.Distill(
        student_temperature=0.2
    )


@pytest.mark.parametrize(
    ("args", "section", "expected"),
    [
        (["--encoder.kind", "vit", "--encoder.depth", "7"], "encoder", cfg.ViT(depth=7, dim=3)),
        (["--encoder.kind=conv"], "encoder", cfg.Conv(dim=3, widths=(5,))),  # what both have stays
        (["--recipe.kind", "masked", "--recipe.mask.targets", "2"], "recipe", cfg.Masked(mask=cfg.Blocks(targets=2))),
        (["--views.kind", "crops", "--views.flip", "0"], "views", cfg.Crops(flip=0.0)),
    ],
)
def test_a_kind_brings_its_options(args: list[str], section: str, expected: Any) -> None:
    default = Config(encoder=cfg.MLP(dim=3, widths=(5,)))
    found = parse(Config, args, prog="p", description="d", default=default)
    assert getattr(found, section) == expected


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--encoder.depth", "3"], "--encoder.depth; it is an option of --encoder.kind vit"),
        (["--recipe.mask.targets", "3"], "it is an option of --recipe"),
        (["--encoder.kind", "vti"], "--encoder.kind cannot be 'vti'; did you mean vit?"),
        (["--encoder.kind", "vit", "--encoder.depth", "0"], "--encoder.depth is 0; it must be at least 1"),
        (["--optim.lr", "nan"], "--optim.lr is nan; it must be finite"),
    ],
)
def test_kinds_and_values_that_are_refused(args: list[str], says: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(Config, args, prog="p", description="d", default=Config())
    assert says in as_flags(str(caught.value), Config)
    assert "\n" not in str(caught.value)


def test_a_section_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"`encoder\.kind` of MLP is mlp, not vit"):
        cfg.MLP(kind="vit")


def test_options_of_jepa_jax_0_1_get_a_note() -> None:
    args, notes = renamed(["--objective.recipe", "masked", "--optim.average=0.9", "--steps", "3"], RENAMED_FIELDS)
    assert args == ["--recipe.kind", "masked", "--optim.ema=0.9", "--steps", "3"]
    assert notes[0] == "--objective.recipe was renamed to --recipe.kind in jepa_jax 0.2"
    assert len(notes) == 2
