"""Tables: which columns are what, the same rows in every format, and errors that name file, column and row."""

import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import jepa_jax
from jepa_jax import config as cfg
from jepa_jax.data import Samples, Schema, as_samples, open_source, read_samples
from jepa_jax.errors import ConfigError

TABLE = {
    "id": ["a/1", "a/2", "b/1", "b/2"],
    "height": [1.5, 2.25, -3.0, 1e-3],
    "colour": ["red", "blue", "red", "green"],
    "count": [3, 4, 5, 6],
    "label": ["x", "", "y", "x"],
    "split": ["train", "Test", "train", "val"],
    "log_density": [-1.0, -2.0, -3.0, -4.0],
}
SCHEMA = Schema(categorical=("colour",))


class Frame(dict):
    """What Arrow sees of a DataFrame that is not of pandas."""

    columns = property(dict.keys)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return pa.table(dict(self)).__arrow_c_stream__(requested_schema)


def write(path: Path, table: dict[str, list[Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.table(table), path)
        return path
    separator = {".csv": ",", ".tsv": "\t"}[path.suffix]
    lines = [list(table), *zip(*table.values(), strict=True)]
    path.write_text("".join(separator.join(map(str, line)) + "\n" for line in lines))
    return path


def check(samples: Samples) -> None:
    np.testing.assert_array_equal(
        samples.x, np.array([[1.5, 2, 3], [2.25, 0, 4], [-3, 2, 5], [1e-3, 1, 6]], np.float32)
    )
    assert (samples.columns, samples.categories) == (("height", "colour", "count"), (0, 3, 0))
    assert samples.levels == ("colour=blue", "colour=green", "colour=red")
    assert samples.ids is not None
    assert samples.ids.tolist() == TABLE["id"]
    assert samples.numbered_label is not None
    assert samples.numbered_label.tolist() == [0, -1, 1, 0]
    assert samples.held_out is not None
    assert samples.held_out.tolist() == [False, True, False, True]
    assert samples.log_density is not None
    assert samples.log_density.tolist() == TABLE["log_density"]


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".CSV"])
def test_every_format_has_the_same_samples(suffix: str, tmp_path: Path) -> None:
    path = write(tmp_path / f"t{suffix.lower()}", TABLE).rename(tmp_path / f"t{suffix}")
    check(read_samples(str(path), None, schema=SCHEMA))


def test_a_frame_has_the_same_samples() -> None:
    check(as_samples(Frame(TABLE), cfg.Data(categorical=("colour",))))


def test_a_frame_of_pandas_has_the_same_samples() -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(TABLE, index=["p", "q", "r", "s"])
    check(as_samples(frame, cfg.Data(categorical=("colour",))))
    check(as_samples(frame.astype({"colour": "category"}), cfg.Data(categorical=("colour",))))


def test_the_columns_of_a_config_are_taken_by_name(tmp_path: Path) -> None:
    """In another table they stand in another order, among others, and the codes of categories stay what they were."""
    source = open_source(cfg.Data(str(write(tmp_path / "t.csv", TABLE)), categorical=("colour",), noise=0.1))
    assert (source.columns, source.held_out) == (("height", "colour", "count"), True)
    schema = Schema(source.columns, ("colour",), source.levels)
    other = {"name": ["p", "q"], "colour": ["red", "pink"], "count": [1, 2], "height": [0.5, 0.25]}
    found = read_samples(str(write(tmp_path / "o.csv", other)), None, schema=schema)
    np.testing.assert_array_equal(found.x, [[0.5, 2, 1], [0.25, -1, 2]])
    write(tmp_path / "o.csv", {"weight": [1, 2], "colour": ["red", "red"], "count": [1, 2]})
    with pytest.raises(ConfigError, match="has no column 'height' for input; did you mean weight"):
        read_samples(str(tmp_path / "o.csv"), None, schema=schema)


def test_categories_may_be_numbers(tmp_path: Path) -> None:
    """In the order of the numbers, and whether they were written as whole or as floating-point numbers."""
    for zone in ([10, 9, 10], [10.0, 9.0, 10.0]):
        path = write(tmp_path / "t.parquet", {"a": [1, 2, 3], "zone": zone})
        found = read_samples(str(path), None, schema=Schema(categorical=("zone",)))
        assert (found.levels, found.x[:, 1].tolist()) == (("zone=9", "zone=10"), [1, 0, 1])


def test_named_rows_are_held_out_and_others_are_not(tmp_path: Path) -> None:
    """Whatever `data.holdout` says."""
    path = str(write(tmp_path / "t.csv", {"a": [1, 2, 3, 4, 5], "split": ["train", "test", "train", "train", "train"]}))
    source = open_source(cfg.Data(path, holdout=0.5))
    assert source.arrays["x"][:, 0].tolist() == [1, 3, 4, 5]
    assert source.probe(9).x[:, 0].tolist() == [2]
    path = str(write(tmp_path / "t.csv", {"a": [1, 2, 3], "split": ["train"] * 3}))
    assert read_samples(path, None).held_out is None


def test_notes_name_the_columns(tmp_path: Path) -> None:
    table = {"a": np.random.default_rng(0).standard_normal(300).tolist(), "flat": [2] * 300}
    source = open_source(cfg.Data(str(write(tmp_path / "t.csv", table)), noise="local"))
    assert source.notes == ("column flat never varies: it is left out of the density",)


@pytest.mark.parametrize(
    ("ids", "found"), [(["7", "8"], [7, 8]), (["07", "8"], ["07", "8"]), (["a", "b"], ["a", "b"])], ids=str
)
def test_ids_keep_their_form(ids: list[str], found: list[Any], tmp_path: Path) -> None:
    samples = read_samples(str(write(tmp_path / "t.csv", {"a": [1, 2], "id": ids})), None)
    assert samples.ids is not None
    assert samples.ids.tolist() == found


def test_every_number_is_read(tmp_path: Path) -> None:
    """Not only those of the first block of a large file, by which Arrow would choose types."""
    values = [*range(400_000), 0.5]
    path = write(tmp_path / "t.csv", {"a": values})
    np.testing.assert_array_equal(read_samples(str(path), None).x[:, 0], np.array(values, np.float32))


WRONG = {
    "a,b\n1,2\n3\n": r"t.csv, line 3, has 1 values, and the first line names 2 columns",
    "a,b\n1,2\n3,4,5\n": r"t.csv, line 3, has 3 values",
    "a,b\n1,2\n3,\n": r"t.csv: column 'b', row 1 \(line 3\), is missing; fill in",
    "a,b\n1,nan\n3,NA\n5,6\n": r"t.csv: column 'b', row 0 \(line 2\), is missing, as in 1 more rows",
    "a,b\n1,inf\n": r"t.csv: column 'b', row 0 \(line 2\), is too large for float32",
    "a,b\n1,2\n3,x\n": r"t.csv: column 'b', row 1 \(line 3\), has 'x', which is no number",
    "a,b\n1,x\n2,y\n": r"t.csv: column 'b' is no column of numbers \(it has 'x'\); name it in `data.categorical`",
    "a;b\n1;2\n": "t.csv is separated by semicolons, not by commas",
    "a\tb\n1\t2\n": "t.csv is separated by tabs, not by commas",
    "1.5,2\n3,4\n": "t.csv begins with numbers; its first line should name the columns",
    ",a\n0,2\n": "t.csv: column 0 has no name; name it id",
    "a,b,a\n0,1,2\n": "t.csv has two columns named 'a'",
    "a,b\n": "t.csv has no rows",
    "": "t.csv is empty",
    "\n\n": "t.csv cannot be read as a table of text",
    "label,id\n1,2\n": "t.csv has no columns of numbers; it has label, id",
    "a,id\n1,2\n3,\n": r"t.csv: column 'id', row 1 \(line 3\), is missing",
    "a,split\n1,train\n2,later\n": r"t.csv: column 'split', row 1 \(line 3\), has 'later'; a split is one of train",
    "a,log_density\n1,x\n": "t.csv: column 'log_density', row 0",
}


@pytest.mark.parametrize("text", WRONG, ids=repr)
def test_what_is_wrong_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ConfigError, match=WRONG[text]) as caught:
        read_samples(str(tmp_path / "t.csv"), None)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ([datetime.datetime(2020, 1, 1)] * 2, "column 'b' is no column of numbers"),
        ([[1], [2]], "column 'b' is no column of numbers"),
        ([None, 1.0], "column 'b', row 0, is missing"),
        (pa.array([None, None]), "column 'b', row 0, is missing, as in 1 more rows"),
        (pa.array(["x", "y"]).dictionary_encode(), "column 'b' is no column of numbers"),
    ],
    ids=str,
)
def test_wrong_types_are_named(values: Any, says: str, tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", {"a": [1, 2], "b": values})
    with pytest.raises(ConfigError, match=f"t.parquet: {says}"):
        read_samples(str(path), None)


def test_too_many_categories_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", {"name": [f"n{i}" for i in range(1001)], "a": list(range(1001))})
    with pytest.raises(ConfigError, match=r"column 'name', row 0 .* one of 1001 different values"):
        read_samples(str(path), None, schema=Schema(categorical=("name",)))


def test_fit_takes_a_frame() -> None:
    draw = np.random.default_rng(0)
    frame = Frame({"a": draw.standard_normal(40).tolist(), "b": draw.standard_normal(40).tolist(), "label": [1] * 40})
    config = cfg.Config(steps=2, data=cfg.Data(batch_size=16), encoder=cfg.MLP(widths=(8,), dim=4))
    array = np.column_stack([frame["a"], frame["b"]])
    found, same = (jepa_jax.score_samples(jepa_jax.fit(config, x), array.astype(np.float32)) for x in (frame, array))
    np.testing.assert_array_equal(found, same)
