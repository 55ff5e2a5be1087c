"""Folder of images as a dataset; the folders on its first level are the labels."""

import hashlib
import os
from collections import deque
from pathlib import Path
from typing import Any

from PIL import Image

from jepa_jax.errors import ConfigError
from jepa_jax.images import SUFFIXES, decode


class ImageFolder:
    """Images in a folder and its subfolders, in the order of their names. A `Dataset`.

    Attributes:
      name: Name of the folder.
      names: Paths of the files relative to the folder, with slashes, sorted.
      classes: Number of folders on the first level; None without any. Images beside those folders have no label.
    """

    in_memory = False

    def __init__(self, folder: Path, channels: int = 3) -> None:
        """List the images.

        Args:
          folder: Folder, which is searched recursively.
          channels: 3 to decode to RGB, 1 to decode to grey.

        Raises:
          ConfigError: If there are no images, or the folder cannot be listed.
        """
        if channels not in (1, 3):
            raise ConfigError(f"{folder} cannot be read in {channels} channels; use 3 for colour or 1 for grey")
        self.name = str(folder)
        self.names = find_images(folder)
        self._folder = folder
        self._channels = channels
        labels = sorted({name.split("/")[0] for name in self.names if "/" in name})
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
        picture = decode(self._folder / name, self._channels)
        return {"x": picture, "label": self._labels.get(name.split("/")[0], -1)}

    def id(self, number: int) -> str:
        """Return the path of a file as text in valid UTF-8, even if the bytes of the path are not."""
        return os.fsencode(self.names[number]).decode(errors="backslashreplace")

    def thumbnail(self, number: int) -> Image.Image:
        """Return the whole picture of a file.

        Raises:
          Unreadable: If the file cannot be read.
        """
        return self[number]["x"]

    def fingerprint(self, count: int) -> str:
        """Return a digest of the first files' names, sizes and times, which differs after a change to any of them."""
        digest = hashlib.sha256()
        for name in self.names[:count]:
            try:
                status = (self._folder / name).stat()
                facts = status.st_size, status.st_mtime_ns
            except OSError:
                facts = ()
            digest.update(f"{name!r} {facts}\n".encode())
        return digest.hexdigest()


def find_images(folder: Path) -> list[str]:
    """Return the paths of all images in a folder and its subfolders, relative to it, with slashes, sorted.

    Hidden files and folders are ignored. A folder to which several links lead counts once.

    Raises:
      ConfigError: If there are no images, or a folder cannot be listed.
    """
    found, seen, below = [], set(), deque([""])
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
        for entry in sorted(entries, key=lambda entry: entry.name):
            if os.path.isdir(entry):
                # Follow links last, so that a folder has its own path rather than that of a link to it.
                (below.append if entry.is_symlink() else below.appendleft)(f"{inside}{entry.name}/")
            elif entry.name.lower().endswith(SUFFIXES):
                found.append(f"{inside}{entry.name}")
    if not found:
        raise ConfigError(f"{folder} has no images in it; names of images end in {', '.join(SUFFIXES)}")
    return sorted(found)
