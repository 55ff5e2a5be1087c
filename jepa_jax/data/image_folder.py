"""Image files as a dataset: those in a folder, in a list, or a single one; folders on the first level are labels."""

import hashlib
import os
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from jepa_jax.errors import ConfigError
from jepa_jax.images import decode, passed_over, pixel_limit


class ImageFolder:
    """Images in a folder and its subfolders, in the order of their names, or some named ones. A `Dataset`.

    Attributes:
      name: Name of the folder.
      names: Paths of the files relative to the folder, with slashes; sorted unless they were given.
      passed_over: Numbers of the files in the folder that are no pictures, by their kind (`.txt`).
      classes: Number of folders on the first level; None without any. Images beside those folders have no label.
    """

    in_memory = False

    def __init__(
        self, folder: Path, channels: int = 3, *, names: list[str] | None = None, max_pixels: int | None = None
    ) -> None:
        """List the images.

        Args:
          folder: Folder, which is searched recursively.
          channels: 3 to decode to RGB, 1 to decode to grey.
          names: Paths relative to the folder, in place of a search.
          max_pixels: Maximum number of pixels of a file; None for that of the environment, `pixel_limit`.

        Raises:
          ConfigError: If there are no images, or the folder cannot be listed.
        """
        if channels not in (1, 3):
            raise ConfigError(f"{folder} cannot be read in {channels} channels; use 3 for colour or 1 for grey")
        self.name = str(folder)
        self.names, self.passed_over = find_images(folder) if names is None else (names, {})
        self._folder = folder
        self._channels = channels
        self._max_pixels = pixel_limit(max_pixels)
        first = {name.split("/")[0] for name in self.names if "/" in name} - {"", ".", ".."}
        labels = sorted(first, key=os.fsencode)
        self._labels = {label: number for number, label in enumerate(labels)}
        self.classes = len(labels) or None

    def __len__(self) -> int:
        """Return the number of files."""
        return len(self.names)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Return the picture and the label of a file.

        Raises:
          Unreadable: If the file cannot be read; the message is a short reason.
        """
        name = self.names[number]
        picture = decode(self._folder / name, self._channels, self._max_pixels)
        return {"x": picture, "label": self._labels.get(name.split("/")[0], -1)}

    def folder(self, number: int) -> str:
        """Return the folder on the first level that is the label of a file, as text; "" if it has none."""
        first = self.names[number].split("/")[0]
        return os.fsencode(first).decode(errors="backslashreplace") if first in self._labels else ""

    def id(self, number: int) -> str:
        """Return the path of a file as text in valid UTF-8, even if the bytes of the path are not."""
        return os.fsencode(self.names[number]).decode(errors="backslashreplace")

    def path(self, number: int) -> Path:
        """Return the path of a file."""
        return self._folder / self.names[number]

    def thumbnail(self, number: int) -> Image.Image:
        """Return the whole picture of a file.

        Raises:
          Unreadable: If the file cannot be read.
        """
        return self[number]["x"]

    def fingerprint(self, count: int) -> str:
        """Return a digest of the first files' names, sizes and times, which differs after a change to any of them."""
        digest = hashlib.sha256()
        for name, *facts in self.facts(count):
            digest.update(f"{name!r} {tuple(facts)}\n".encode())
        return digest.hexdigest()

    def facts(self, count: int) -> list[list[Any]]:
        """Return the names of the first files, each with its size and its time unless it has gone."""
        found: list[list[Any]] = []
        for name in self.names[:count]:
            try:
                status = (self._folder / name).stat()
                found.append([name, status.st_size, status.st_mtime_ns])
            except OSError:
                found.append([name])
        return found


def find_images(folder: Path) -> tuple[list[str], dict[str, int]]:
    """Find all images in a folder and its subfolders.

    Hidden files and folders are ignored. A folder to which several links lead counts once.

    Returns:
      The paths relative to the folder, with slashes, in the order of their bytes, which no locale changes; and the
      numbers of the other files by their kind, the most frequent first.

    Raises:
      ConfigError: If there are no images, or a folder cannot be listed.
    """
    found, others, seen, below = [], Counter[str](), set(), deque([""])
    while below:
        inside = below.popleft()
        try:
            status = os.stat(folder / inside)
            with os.scandir(folder / inside) as scan:
                entries = [entry for entry in scan if not entry.name.startswith(".")]
        except OSError as error:
            raise ConfigError(f"{folder / inside} cannot be listed: {error.strerror}") from None
        if (status.st_dev, status.st_ino) in seen:  # reached through a link, possibly a circular one
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in sorted(entries, key=lambda entry: os.fsencode(entry.name)):
            if os.path.isdir(entry):
                # Follow links last, so that a folder has its own path rather than that of a link to it.
                (below.append if entry.is_symlink() else below.appendleft)(f"{inside}{entry.name}/")
            elif kind := passed_over(entry.path):
                others[kind] += 1
            else:
                found.append(f"{inside}{entry.name}")
    if not found:
        raise ConfigError(f"{folder} has no images in it{passed_over_words(others, '; it has ')}")
    return sorted(found, key=os.fsencode), dict(others.most_common())


def passed_over_words(others: Mapping[str, int], before: str) -> str:
    """Return the numbers of files by their kind in words, after other words; "" if there are none."""
    return before + ", ".join(f"{count} {kind}" for kind, count in others.items()) if others else ""


def open_image(path: Path, channels: int, max_pixels: int | None) -> ImageFolder:
    """Return a single image file as a dataset.

    Raises:
      ConfigError: If there is no such file.
    """
    if not path.is_file():
        raise ConfigError(f"{path} does not exist")
    return ImageFolder(path.parent, channels, names=[path.name], max_pixels=max_pixels)


def open_list(path: Path, channels: int, max_pixels: int | None) -> ImageFolder:
    """Return the images that a text file lists, one path a line, relative to its folder. Empty lines are ignored.

    Raises:
      ConfigError: If the list cannot be read, is empty, or names a file that does not exist.
    """
    try:
        text = os.fsdecode(path.read_bytes().removeprefix(b"\xef\xbb\xbf"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    lines = [(number, line.removesuffix("\r")) for number, line in enumerate(text.split("\n"), 1)]
    names = [(number, line) for number, line in lines if line.strip()]
    if not names:
        raise ConfigError(f"{path} lists no images; write the path of one on each line")
    for number, name in names:
        if "\0" in name or not (path.parent / name).is_file():
            shown = os.fsencode(name).decode(errors="backslashreplace")
            raise ConfigError(
                f"{path}, line {number}: {shown!r} is not a file; paths are relative to the list's folder"
            )
    return ImageFolder(path.parent, channels, names=[name for _, name in names], max_pixels=max_pixels)
