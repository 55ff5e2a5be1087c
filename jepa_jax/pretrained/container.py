"""Contents of one file of weights of any format, recognised by its first bytes."""

from pathlib import Path

from jepa_jax.errors import ConfigError
from jepa_jax.pretrained import safetensors_file, torch_zip
from jepa_jax.pretrained.tensor import Contents

# First bytes of files that often occur in place of weights, and the end of the error message.
REFUSED_HEADS = {
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19": "is in the format of torch before 1.6; load it and torch.save it "
    "again, or use safetensors",
    b"version https://git-lfs": "is a Git LFS pointer, not the weights; run `git lfs pull` in its repository",
}


def contents(file: Path) -> Contents:
    """Return the tensors of one file, without reading their bytes.

    Raises:
      ConfigError: If the file cannot be read, whatever the reason.
    """
    if not file.is_file():
        raise ConfigError(f"{file} is not a regular file; name a directory or a file of weights")
    try:
        with file.open("rb") as opened:
            head = opened.read(512)
        for start, reason in REFUSED_HEADS.items():
            if head.startswith(start):
                raise ConfigError(f"{file} {reason}")
        if head[257:262] == b"ustar":
            raise ConfigError(
                f"{file} is a tar archive; unpack it, or if an old version of torch wrote it, torch.save it again"
            )
        if head.startswith(b"PK\x03\x04"):
            return torch_zip.contents(file)
        if is_safetensors(file):
            return Contents({"": safetensors_file.tensors(file)}, {})
    except ConfigError:
        raise
    except OSError as error:
        raise ConfigError(f"cannot read {file}: {error.strerror or error}; name another file") from error
    except Exception as error:  # damaged bytes may cause any exception
        reason = f"{type(error).__name__}: {error}".encode("unicode_escape").decode()[:200]
        raise ConfigError(f"{file} is truncated or damaged ({reason}); download or save it again") from error
    raise ConfigError(f"{file} is neither safetensors nor a zip of torch.save; save it again as one of them")


def is_safetensors(file: Path) -> bool:
    """Return whether the first eight bytes, the length of the header, are followed by a JSON object."""
    with file.open("rb") as opened:
        return opened.read(9)[8:] == b"{"
