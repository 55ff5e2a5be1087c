"""Report of a score run: one HTML file that needs no network and no other file."""

from .content import Page, percentiles
from .write import write_report

__all__ = ["Page", "percentiles", "write_report"]
