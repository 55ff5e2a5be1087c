"""Rows of a folder of images that an earlier call has scored, although the folder has changed since."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from jepa_jax.data import LazyImages, Samples
from jepa_jax.data.image_folder import ImageFolder
from jepa_jax.files import write_atomically

from .options import Arguments
from .shards import Shards


class Inventory:
    """Files of a folder in the order of the rows of a table, with their sizes and times, kept beside the table.

    A call that finds other files in the folder takes the rows of those that are as they were, and scores the others.
    """

    def __init__(self, table: Path, shards: Shards, identity: dict[str, Any], samples: Samples) -> None:
        """Describe the files of a call.

        Args:
          table: Path of the table, beside which its rows are kept.
          shards: Rows of the table.
          identity: All that determines the rows except for the files.
          samples: Images of a folder.
        """
        images = samples.x
        assert isinstance(images, LazyImages)
        assert isinstance(images.dataset, ImageFolder)
        self._shards = shards
        self._path = table.with_name(f".{table.name}.images.json")
        self._files = images.dataset.facts(len(images))
        text = json.dumps([identity, images.preprocessing.to_dict(), shards.record.descr], sort_keys=True)
        self._mark = hashlib.sha256(text.encode()).hexdigest()

    def restore(self) -> int:
        """Give the rows of unchanged files to the table, and return their number."""
        try:
            tree = json.loads(self._path.read_text())
            before = {name: (row, facts) for row, (name, *facts) in enumerate(tree["files"])}
            known = tree["mark"] == self._mark
        except (OSError, ValueError, KeyError, TypeError):
            return 0
        rows = self._shards.kept(len(before)) if known and tree["files"] != self._files else None
        if rows is None:
            return 0
        places = [before[name][0] if before.get(name, (0, None))[1] == facts else -1 for name, *facts in self._files]
        # What could not be read may be readable now, by a higher limit or with more memory.
        unchanged = (np.array(places) >= 0) & (rows["reason"][places] == 0)
        if unchanged.any():
            self._shards.insert(rows[places], unchanged)
        return int(unchanged.sum())

    def keep(self) -> None:
        """Write the files, after their rows were kept."""
        text = json.dumps({"mark": self._mark, "files": self._files})
        write_atomically(self._path, lambda path: path.write_text(text))


def inventory(
    a: Arguments, table: Path, shards: Shards, identity: dict[str, Any], samples: Samples, *, law: bool
) -> Inventory | None:
    """Return the inventory of a call, or None if a row may depend on more than its own file.

    Args:
      a: Arguments of the program.
      table: Path of the table.
      shards: Rows of the table.
      identity: Identity of the call.
      samples: Samples that are scored.
      law: Whether the law of the embeddings was measured, which may have been among these samples.
    """
    images = samples.x
    if not isinstance(images, LazyImages) or not isinstance(images.dataset, ImageFolder):
        return None
    if law or a.tangent or a.views > 1:  # neighbours, and the number of the row as a key
        return None
    return Inventory(table, shards, {name: value for name, value in identity.items() if name != "file"}, samples)
