"""Experiments of the paper on JEPA-SCORE (arXiv 2510.05949) as commands.

    python -m benchmarks.paper synthetic  [options of benchmarks.unseen]
    python -m benchmarks.paper controlled [--parts sprites digits] [--pictures DIR]
    python -m benchmarks.paper imagenet   MODEL [MODEL ...] --images DIR [--classes NAME ...] [--sample N]

`synthetic`: the learned density beside the exact one, on worlds that a seed draws. `controlled`: data of which one
knows what was done to them: small images of a blob whose position, size and brightness are known, and digits that are
corrupted more and more. `imagenet`: the paper's figure 1, for your images and encoders: the least and the most likely
images of a class, and how far encoders agree on their order. `python -m benchmarks.paper EXPERIMENT --help` has the
options of each.
"""

import sys

from benchmarks import unseen
from benchmarks.paper import controlled, imagenet
from jepa_jax.errors import nearest

EXPERIMENTS = {"synthetic": unseen.main, "controlled": controlled.main, "imagenet": imagenet.main}


def main(args: list[str]) -> int:
    """Run an experiment and return its exit status: 0; 1 if interrupted; 2 if the arguments are wrong."""
    if args[:1] in (["--help"], ["-h"]):
        print(__doc__)
        return 0
    name = args[0] if args else ""
    if name not in EXPERIMENTS:
        print(f"error: unknown experiment {name!r}{nearest(name, EXPERIMENTS)}", file=sys.stderr)
        return 2
    return EXPERIMENTS[name](args[1:])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
