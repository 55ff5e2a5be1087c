"""The error that users see, and the hints in its message."""

import difflib
import re
from collections.abc import Iterable


class ConfigError(ValueError):
    """Error in the arguments or the input; its message is one line that says what is wrong and how to fix it."""

    def __init__(self, message: str) -> None:
        # Names of files may hold line breaks, sequences that a terminal obeys, and bytes that are no text.
        text = message.encode(errors="backslashreplace").decode()
        super().__init__(re.sub(r"[\x00-\x1f\x7f]", lambda control: repr(control[0])[1:-1], text))


def first_line(error: BaseException) -> str:
    """Return the first line of the message of an error, cut to 200 characters."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the end of an error message: `; did you mean X?`, or the list of known names."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=2, cutoff=0.5)
    return f"; did you mean {' or '.join(close)}?" if close else f"; known: {', '.join(known)}"
