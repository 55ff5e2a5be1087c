"""The report of a score run: one HTML file that needs nothing else, no network and no other file."""

from score.page.content import Page
from score.page.write import write_report

__all__ = ["Page", "write_report"]
