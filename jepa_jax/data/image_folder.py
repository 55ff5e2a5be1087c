"""A folder of images as a dataset. Its first level of folders are the labels."""

import hashlib
import os
from collections import deque
from pathlib import Path
from typing import Any

from PIL import Image

from jepa_jax.errors import ConfigError
from jepa_jax.images import SUFFIXES, decode


class ImageFolder:
    """The images of a folder and of those below it, in the order of their names. A `Dataset`.

    Attributes:
      name: of the folder.
      names: the files' paths relative to the folder, with slashes, sorted.
      classes: number of folders on the first level; None without any. Images beside those folders have no label.
    """

    in_memory = False

    def __init__(self, folder: Path, channels: int = 3) -> None:
        """List the images.

        Args:
          folder: searched recursively.
          channels: 3 to decode to RGB, 1 to grey.

        Raises:
          ConfigError: there are no images, or the folder cannot be listed.
        """
        if channels not in (1, 3):
            raise ConfigError(f"images of {folder} in {channels} channels; take 3 for colours or 1 for grey")
        self.name = str(folder)
        self.names = find_images(folder)
        self._folder = folder
        self._channels = channels
        labels = sorted({name.split("/")[0] for name in self.names if "/" in name})
        self._labels = {label: number for number, label in enumerate(labels)}
        self.classes = len(labels) or None

    def __len__(self) -> int:
        """Number of files."""
        return len(self.names)

    def __getitem__(self, number: int) -> dict[str, Any]:
        """Picture and label of a file.

        Raises:
          Unreadable: with the reason in a few words.
        """
        name = self.names[number]
        picture = decode(self._folder / name, self._channels)
        return {"x": picture, "label": self._labels.get(name.split("/")[0], -1)}

    def id(self, number: int) -> str:
        """Path of a file as text that any file can hold, also where its bytes are no UTF-8."""
        return os.fsencode(self.names[number]).decode(errors="backslashreplace")

    def thumbnail(self, number: int) -> Image.Image:
        """The whole picture of a file.

        Raises:
          Unreadable: as above.
        """
        return self[number]["x"]

    def fingerprint(self, count: int) -> str:
        """Digest of the first files' names, sizes and times: another where a file was changed, added or removed."""
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
    """Paths of all images in a folder and those below it, relative to it, with slashes, sorted.

    Hidden files and folders do not count. A folder that several links lead to counts once.

    Raises:
      ConfigError: there are none, or a folder cannot be listed.
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
        if (status.st_dev, status.st_ino) in seen:  # by a link, perhaps in a circle
            continue
        seen.add((status.st_dev, status.st_ino))
        for entry in sorted(entries, key=lambda entry: entry.name):
            if os.path.isdir(entry):
                # Links last, so that a folder goes by its own name where it has one.
                (below.append if entry.is_symlink() else below.appendleft)(f"{inside}{entry.name}/")
            elif entry.name.lower().endswith(SUFFIXES):
                found.append(f"{inside}{entry.name}")
    if not found:
        raise ConfigError(f"{folder} has no images in it; they end in {', '.join(SUFFIXES)}")
    return sorted(found)
