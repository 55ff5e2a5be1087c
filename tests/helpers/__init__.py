"""What tests share: files like those of others, peers, report pages, tiny trained runs."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
