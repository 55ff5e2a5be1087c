"""Datasets of Hugging Face: folders of save_to_disk and objects in memory, without the library that makes them."""

import io
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

import jepa_jax
import jepa_jax.estimator
from jepa_jax import config as cfg
from jepa_jax.data import open_dataset, open_source, read_samples
from jepa_jax.data.abstract import abstract_source
from jepa_jax.data.arrow_datasets import is_dataset
from jepa_jax.images import Unreadable, centre_square

COUNT = 12
X = np.random.default_rng(0).standard_normal((COUNT, 2)).astype(np.float32)


class Dataset:
    """What is used of `datasets.Dataset`."""

    def __init__(self, table: pa.Table, column_names: Any = None) -> None:
        self.table, self.column_names = table, column_names or table.column_names

    def with_format(self, name: str) -> "Dataset":
        assert name == "arrow"
        return self

    def __getitem__(self, rows: slice) -> pa.Table:
        return self.table


def described(table: pa.Table, **features: Any) -> pa.Table:
    """Add what the library writes into a schema."""
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def save(folder: Path, table: pa.Table, files: int = 2) -> Path:
    """Write a folder as save_to_disk does, its rows in several files."""
    folder.mkdir(parents=True)
    names = [f"data-{i:05}-of-{files:05}.arrow" for i in range(files)]
    for i, name in enumerate(names):
        part = table.slice(i * COUNT // files, COUNT // files)
        with pa.OSFile(str(folder / name), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(part)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text("{}")
    return folder


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (8, 10, 3), np.uint8)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """Rows as the library stores them: the bytes of a file, or its path; the last one is damaged."""
    rows, folder = [], tmp_path_factory.mktemp("files")
    for number in range(COUNT):
        buffer = io.BytesIO()
        Image.fromarray(pixels(number)).save(buffer, "PNG")
        path = folder / f"{number}.png"
        path.write_bytes(buffer.getvalue())
        rows.append(
            {"bytes": None, "path": str(path)} if number == 1 else {"bytes": buffer.getvalue(), "path": "x.png"}
        )
    rows[-1] = {"bytes": b"no picture", "path": "x.png"}
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    columns = {"image": pa.array(rows, kind), "label": pa.array([i % 3 for i in range(COUNT)])}
    names = {"_type": "ClassLabel", "names": ["cat", "dog", "eel"]}
    return described(pa.table(columns), image={"_type": "Image"}, label=names)


def numeric() -> pa.Table:
    columns = {"a": X[:, 0], "b": X[:, 1], "label": [i % 2 for i in range(COUNT)]}
    return described(pa.table(columns), label={"_type": "ClassLabel", "names": ["no", "yes"]})


def test_columns_of_numbers(tmp_path: Path) -> None:
    found = read_samples(str(save(tmp_path / "rows", numeric())), None)
    np.testing.assert_array_equal(found.x, X)
    assert found.label is not None
    assert found.label[:3].tolist() == ["no", "yes", "no"]
    assert found.columns == ("a", "b")


def test_a_dry_run_knows_the_columns(tmp_path: Path) -> None:
    folder = save(tmp_path / "d", numeric())
    assert abstract_source(cfg.Data(str(folder))).shape == (2,)


def test_images(images: pa.Table, tmp_path: Path) -> None:
    """Pixels are those of the files; labels have their names in tables, and numbers in training."""
    folder = save(tmp_path / "d/train", images)
    (tmp_path / "d/dataset_dict.json").write_text('{"splits": ["train"]}')
    recipe = centre_square(8, 3)
    for spec in (folder, tmp_path / "d"):
        found = read_samples(str(spec), None, preprocessing=recipe)
        assert np.isnan(found.x[-1:]).all()
        np.testing.assert_array_equal(found.x[0], recipe(pixels(0)))
        np.testing.assert_array_equal(found.x[1], recipe(pixels(1)))
        assert found.label is not None
        assert found.label[:4].tolist() == ["cat", "dog", "eel", "cat"]
    data = cfg.Data(str(folder), batch_size=4, size=8, holdout=0.3)
    source = open_source(data)
    assert (source.shape, source.batches is not None, source.labelled is not None) == ((8, 8, 3), True, True)
    assert set(np.asarray(source.probe(99).label).tolist()) <= {0, 1, 2}
    copy: Any = pickle.loads(pickle.dumps(open_dataset(str(folder))))  # as worker processes get it
    np.testing.assert_array_equal(np.asarray(copy[3]["x"]), pixels(3))
    with pytest.raises(Unreadable, match="not in a supported image format"):
        copy[COUNT - 1]


def test_objects_in_memory(images: pa.Table) -> None:
    """`fit`, the estimator and `samples_for` take them; no array and no DataFrame is taken for one."""
    small = cfg.Config(steps=2, data=cfg.Data(batch_size=8, size=8), encoder=cfg.MLP(widths=(8,), dim=4))
    whole = images.slice(0, COUNT - 1)
    encoder = jepa_jax.fit(small, Dataset(whole))
    assert encoder.shape == (8, 8, 3)
    x = jepa_jax.samples_for(encoder, Dataset(images))
    assert x.shape == (COUNT, 8, 8, 3)
    picture = Image.fromarray(pixels(0))
    np.testing.assert_array_equal(x[0], jepa_jax.samples_for(encoder, [picture])[0])
    np.testing.assert_array_equal(jepa_jax.samples_for(encoder, Dataset(numeric())), X)
    with pytest.raises(jepa_jax.ConfigError, match="the dataset, row 11: not in a supported image format; leave it"):
        jepa_jax.fit(small, Dataset(images))
    with pytest.raises(jepa_jax.ConfigError, match="holds the splits train, test; take one"):
        jepa_jax.fit(small, Dataset(images, {"train": ["image"], "test": ["image"]}))
    assert not is_dataset(X)


def test_the_estimator_takes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is trained on the input columns, without the label."""
    seen = []

    def fit_judged(config: Any, x: np.ndarray, say: Any) -> None:
        seen.append(x)
        raise StopIteration

    monkeypatch.setattr(jepa_jax.estimator, "fit_judged", fit_judged)
    with pytest.warns(UserWarning, match="12 rows"), pytest.raises(StopIteration):
        jepa_jax.JEPADensity().fit(Dataset(numeric()))
    np.testing.assert_array_equal(seen[0], X)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({"state.json": "{"}, "cannot be read as a saved dataset"),
        ({"state.json": "{}"}, "names no files of data"),
        ({"state.json": '{"_data_files": [{"filename": "../gone.arrow"}]}'}, "cannot be read as a saved dataset"),
        ({"dataset_dict.json": '{"splits": ["a", "b"]}'}, "holds the splits a, b; name one: "),
        ({"state.json": '{"_data_files": [], "_indices_files": [1]}'}, r"after `flatten_indices\(\)`"),
    ],
)
def test_what_is_damaged_is_one_line(files: dict[str, str], says: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(jepa_jax.ConfigError, match=says) as caught:
        open_dataset(str(tmp_path))
    assert "\n" not in str(caught.value)
