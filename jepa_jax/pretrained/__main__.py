"""Program `python -m jepa_jax.pretrained WEIGHTS --out DIR [options]`, installed as `jepa-convert`."""

import importlib.util
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console

from jepa_jax import __version__
from jepa_jax.cli import as_flags, parse, program
from jepa_jax.distributed import check_devices
from jepa_jax.errors import ConfigError
from jepa_jax.pretrained.convert import FAMILIES, Converted, convert
from jepa_jax.pretrained.directory import check_free, write
from jepa_jax.pretrained.family import Options
from jepa_jax.pretrained.positions import Resize
from jepa_jax.pretrained.reading import open_weights, sha256
from jepa_jax.pretrained.words import in_words

DESCRIPTION = f"""Convert foreign weights to a model directory that python -m score reads.

WEIGHTS is a directory of Hugging Face or timm (config.json and model.safetensors, in one file or shards), the folder of
a model in the cache of Hugging Face, or a file: .safetensors, or of PyTorch (.pth, .pth.tar, .pt, .bin, .ckpt, also
TorchScript). No code in it is run. Families: {", ".join(f.name for f in FAMILIES)}.
The family and the size are recognised from the file; the options supply what the file does not contain."""


@dataclass(frozen=True)
class Arguments:
    """Command line of the program."""

    weights: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="WEIGHTS")]
    """Directory or file of the foreign weights."""
    out: str | None = None
    """DIR, the model directory to write."""
    to_hf: str | None = None
    """DIR, a folder to write in the form of Hugging Face instead: model.safetensors, config.json and a model card,
    README.md. WEIGHTS may then be a run or a converted model, too. jepa_jax.load and python -m score read it."""
    license: str | None = None
    """With --to-hf: identifier of the licence, such as apache-2.0. None: the one that foreign weights state."""
    family: str | None = None
    """Family of the weights: ijepa, dinov2, metaclip (clip), or vit, a plain vision transformer such as DINO's. Weights
    of another family are refused. None: recognised from the file and the config file beside it."""
    arch: str | None = None
    """Published size, such as vitb14, vit_huge, b16 or h14_v1.2_altogether. For CLIP it also determines the activation.
    None: recognised from the file."""
    heads: int | None = None
    """Number of attention heads, if the file does not contain it and its size is not a published one."""
    image_size: int | None = None
    """Side of the images to be scored in pixels, a multiple of the patch size. None: the size that the preprocessing
    produces."""
    branch: str | None = None
    """Encoder to take from a file that holds several, such as target or context (I-JEPA), teacher or student, ema or
    raw, or a part of its name. None: that which the origin of the file evaluates."""
    positions: Resize | None = None
    """Interpolation of the position embeddings at another resolution. None: that of the code from which the file
    originates."""


def script() -> None:
    """Run the program and return its exit status: 0, 2 if the input is invalid, or 1 if it fails otherwise."""
    sys.exit(main(sys.argv[1:]))


def main(args: list[str]) -> int:
    """Run the program and return its exit status: 0, 2 if the input is invalid, or 1 if it fails otherwise."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    if args[:1] == ["--version"]:
        print(__version__)
        return 0
    name = "jepa-convert" if Path(sys.argv[0]).name.startswith("jepa-") else "python -m jepa_jax.pretrained"
    try:
        a = parse(Arguments, args, prog=name, description=DESCRIPTION)
        if (a.out is None) == (a.to_hf is None):
            raise ConfigError("name the folder to write: --out DIR for a model directory, --to-hf DIR for Hugging Face")
        if a.to_hf is not None:
            publish(a, Path(a.to_hf), console)
        elif a.license is not None:
            raise ConfigError("--license belongs to --to-hf")
        else:
            show(run(a, Path(a.out or ""), console), a)
    except ConfigError as error:
        print(f"error: {as_flags(str(error), Arguments)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; nothing was written", file=sys.stderr)
        return 1
    return 0


def publish(a: Arguments, out: Path, console: Console) -> None:
    """Write the folder in the form of Hugging Face, and print what is in it and the next command.

    Raises:
      ConfigError: If the arguments or the model are invalid.
    """
    from jepa_jax.pretrained.hub import export  # imported here, because a conversion needs no run

    check_free(out)
    check_devices()
    with console.status(f"writing {out}"):
        encoder = export(a.weights, out, a.license, options_of(a))
    data = "FOLDER" if encoder.picture_preprocessing else "FILE"
    score = " ".join(program("score", "" if importlib.util.find_spec("score") else "jepa_jax.pretrained"))
    print(f"{out}: model.safetensors, config.json and the card README.md, which you should read and complete")
    print(f"next: {score} {out} --data {data}")


def options_of(a: Arguments) -> Options:
    """Return the options of foreign weights.

    Raises:
      ConfigError: If one is not positive.
    """
    for name in ("heads", "image_size"):
        value = getattr(a, name)
        if value is not None and value < 1:
            raise ConfigError(f"--{name.replace('_', '-')} is {value}; it must be positive")
    return Options(a.family, a.arch, a.heads, a.image_size, a.branch, a.positions)


def run(a: Arguments, out: Path, console: Console) -> Converted:
    """Convert the weights and write the model directory.

    Raises:
      ConfigError: If the arguments or the weights are invalid.
    """
    options = options_of(a)
    check_free(out)
    check_devices()
    with console.status(f"reading {a.weights}") as status:
        converted = convert(a.weights, options)
        status.update("computing the hashes of the files")
        files = [
            {"name": f.name, "bytes": f.stat().st_size, "sha256": sha256(f)} for f in open_weights(a.weights).files
        ]
        converted = replace(converted, origin={"files": files, **converted.origin})
        status.update(f"writing {out}")
        write(converted, out)
    return converted


def show(converted: Converted, a: Arguments) -> None:
    """Print what was found and assumed, and the next command."""
    vit, origin = converted.config, converted.origin
    for line in in_words(origin, vit.shape, vit.dim, converted.preprocessing):
        print(line)
    for note in origin["notes"]:
        print(f"note: {as_flags(note, Arguments)}")
    print(f"licence: {origin['licence']}")
    score = " ".join(program("score", "" if importlib.util.find_spec("score") else "jepa_jax.pretrained"))
    what, data = "a folder of images", "FOLDER"
    if converted.preprocessing is None:
        what, data = f"arrays [N, {', '.join(map(str, vit.shape))}]", "FILE.npy"
    print(f"model: {a.out}; score {what} with: {score} {a.out} --data {data}")


if __name__ == "__main__":
    script()
