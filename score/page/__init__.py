"""Report of a score run: one HTML file that needs no network and no other file."""

from .content import Page, Suspects, percentiles
from .write import write_report

__all__ = ["Page", "Suspects", "percentiles", "write_report"]
