"""Files that mean harm: nothing in them runs, and none reads beyond its own bytes."""

import resource
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jepa_jax.pretrained.reading import open_weights
from jepa_jax.pretrained.torch_pickle import StandIn, _tensor_names
from tests.helpers.foreign import Claim, Global, Parameter, Storage, X, raises_one_line, save_torch_zip


class Calls:
    """Pickles as a call of whatever has this name."""

    def __init__(self, name: str, *args: Any) -> None:
        module, _, attribute = name.rpartition(".")
        self.reduced = Global(module, attribute), args

    def __reduce__(self) -> Any:
        return self.reduced


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "posix.system",
        "builtins.eval",
        "builtins.getattr",
        "builtins.__import__",
        "subprocess.Popen",
        "numpy.load",
        "numpy.core.multiarray.scalar.__class__",
        "torch.load",
        "torch.hub.load",
        "torch.nn.modules.linear.Linear",
        "torch._utils.os.system",
        "collections.namedtuple",
        "a\x1b[2J.\u2028b",
    ],
)
@pytest.mark.parametrize("protocol", [2, 4])
def test_what_weights_do_not_need_is_a_stand_in(tmp_path: Path, name: str, protocol: int) -> None:
    harm: Any = Calls(name, f"touch {tmp_path}/harm")
    if protocol == 4:
        module, _, attribute = name.rpartition(".")
        text = b"".join(b"X" + len(part.encode()).to_bytes(4, "little") + part.encode() for part in (module, attribute))
        save_torch_zip(tmp_path / "a.pth", {"x": X}, {"data.pkl": b"\x80\x04" + text + b"\x93)R."})
        raises_one_line(tmp_path / "a.pth", "holds no tensors by name, but objects such as .*, whose code is not run")
    else:
        save_torch_zip(tmp_path / "a.pth", {"x": X, "harm": harm, "group": {"y": X, harm: harm}})
        weights = open_weights(tmp_path / "a.pth")
        np.testing.assert_array_equal(weights.groups[""]["x"].read(), X)
        assert weights.others == {"harm": name}
        assert list(weights.groups["group"]) == ["y"]
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "opcode",
    [
        b"(X\x02\0\0\0lsios\nsystem\n",
        b"(cos\nsystem\nX\x02\0\0\0lso",
        b"cos\nsystem\nX\x02\0\0\0ls\x85\x81",
        b"\x82\x01",
    ],
)
def test_other_ways_to_call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opcode: bytes) -> None:
    called: list[Any] = []
    monkeypatch.setattr("os.system", called.append)
    save_torch_zip(tmp_path / "a.pth", {"x": X}, {"data.pkl": b"\x80\x02" + opcode + b"."})
    raises_one_line(tmp_path / "a.pth", r"objects such as os\.system, whose code is not run|truncated or damaged")
    assert called == []


@pytest.mark.parametrize(
    "state", [b"}X\x03\0\0\0abcK\x01s", b"N}X\x0c\0\0\0__defaults__)s\x86", b"N}X\x03\0\0\0abcK\x01s\x86"]
)
@pytest.mark.parametrize(
    "name",
    [
        "collections OrderedDict",
        "torch Size",
        "torch FloatStorage",
        "torch float32",
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_parameter",
        "numpy dtype",
    ],
)
def test_a_pickle_cannot_change_the_reader(tmp_path: Path, name: str, state: bytes) -> None:
    """BUILD sets attributes on anything; the next file must not notice."""
    hostile = b"\x80\x02c" + name.replace(" ", "\n").encode() + b"\n" + state + b"b."
    save_torch_zip(tmp_path / "a.pth", {"x": X}, {"data.pkl": hostile})
    raises_one_line(tmp_path / "a.pth", "holds no tensors|truncated or damaged")
    save_torch_zip(tmp_path / "b.pth", {"x": Parameter(X), "n": np.float64(1)})
    first, second = (_tensor_names().get(name.replace(" ", "."), object()) for _ in range(2))
    assert not hasattr(first, "abc")
    assert not hasattr(StandIn, "abc")
    assert first is not second or isinstance(first, str) or first is tuple
    np.testing.assert_array_equal(open_weights(tmp_path / "b.pth").groups[""]["x"].read(), X)


GOOD = Storage("FloatStorage", "0", 24)


@pytest.mark.parametrize(
    ("words", "claims"),
    {
        "reaches outside its storage": [
            Claim(GOOD, 0, (25,), (1,)),
            Claim(GOOD, 1, (24,), (1,)),
            Claim(GOOD, 24, (1,), (1,)),
            Claim(GOOD, 24, (), ()),
            Claim(GOOD, 0, (4, 6), (7, 1)),
            Claim(GOOD, 0, (2**32 + 1,), (2**32,)),
            Claim(GOOD, 2**64, (1,), (1,)),
        ],
        "must be non-negative integers": [
            Claim(GOOD, -1, (3,), (1,)),
            Claim(GOOD, 5, (3,), (-1,)),
            Claim(GOOD, 0, (-3,), (1,)),
            Claim(GOOD, 0, (3.0,), (1,)),
            Claim(GOOD, 0, (True,), (1,)),
            Claim(GOOD, None, (3,), (1,)),
            Claim(Storage("FloatStorage", "0", -1), 0, (3,), (1,)),
        ],
        "has an unknown form": [
            Claim(GOOD, 0, (3,), ()),
            Claim(GOOD, 0, (3,), (1, 1)),
            Claim(GOOD, 0, "3", "1"),
            Claim("0", 0, (3,), (1,)),  # type: ignore[arg-type]
        ],
        "shorter than its stated size": [
            Claim(Storage("FloatStorage", "0", 25), 0, (3,), (1,)),
            Claim(Storage("FloatStorage", "0", 2**70), 0, (3,), (1,)),
            Claim(Storage("DoubleStorage", "0", 24), 0, (3,), (1,)),
        ],
        "no item named": [
            Claim(Storage("FloatStorage", "1", 24), 0, (3,), (1,)),
            Claim(Storage("FloatStorage", "../data.pkl", 3), 0, (3,), (1,)),
        ],
        "ValueError": [  # more than an array can be
            Claim(GOOD, 0, (2**62, 2**62), (0, 0)),
            Claim(GOOD, 0, (0, 2**70), (1, 1)),
            Claim(GOOD, 0, (1,) * 70, (1,) * 70),
        ],
    }.items(),
)
def test_a_tensor_stays_in_its_storage(tmp_path: Path, words: str, claims: list[Claim]) -> None:
    for claim in claims:
        save_torch_zip(tmp_path / "a.pth", {"x": claim}, {"data/0": X.tobytes()})
        raises_one_line(tmp_path / "a.pth", f"truncated or damaged.*{words}")


def test_a_dimension_of_one_may_have_any_stride(tmp_path: Path) -> None:
    save_torch_zip(tmp_path / "a.pth", {"x": Claim(GOOD, 23, (1, 1), (2**70, 5))}, {"data/0": X.tobytes()})
    assert open_weights(tmp_path / "a.pth").groups[""]["x"].read().tolist() == [[23]]


@pytest.mark.parametrize(
    ("header", "field", "value", "words"),
    [
        ("local", 26, b"\xff\xff", "shorter than its"),  # the length of the name, after which the numbers start
        ("local", 28, b"\xff\xff", "shorter than its"),  # the length of the padding before them
        ("central", 8, b"\x01\x00", "encrypted"),  # flags
        ("central", 24, b"\x10\x00", "shorter than its"),  # the length of the numbers
        ("central", 42, b"\xff\xff", "no header"),  # where the local header is
        ("central", 42, b"\x02\x00", "no header"),
    ],
)
def test_a_storage_stays_in_the_file(tmp_path: Path, header: str, field: int, value: bytes, words: str) -> None:
    """A zip says twice where an entry is: before its bytes, and in the directory at the end of the file."""
    save_torch_zip(tmp_path / "a.pth", {"x": X})
    data = bytearray((tmp_path / "a.pth").read_bytes())
    name = b"archive/data/0"
    place = field + (data.index(name) - 30 if header == "local" else data.rindex(name) - 46)
    data[place : place + 2] = value
    (tmp_path / "a.pth").write_bytes(data)
    raises_one_line(tmp_path / "a.pth", f"truncated or damaged.*{words}")


def test_a_pickle_that_would_fill_the_memory(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"0" * 100_000_001)
    raises_one_line(tmp_path / "a.pth", "more than 100000000 bytes")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    save_torch_zip(tmp_path / "b.pth", {}, {"data.pkl": b"\x80\x02}r\xff\xff\xff\x07."})
    raises_one_line(tmp_path / "b.pth", "holds no tensors")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB
