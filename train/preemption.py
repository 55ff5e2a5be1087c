"""Preemption: the scheduler of a cluster sends a signal before it takes the machine away."""

import signal
import threading
from types import FrameType


class Preemption:
    """Context in which SIGTERM only sets the attribute `received`."""

    def __init__(self) -> None:
        self.received = False
        self._before: signal.Handlers | int | None = None

    def __enter__(self) -> "Preemption":
        """Install the signal handler, which is possible only in the main thread."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._note)  # type: ignore[assignment]
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the previous signal handler."""
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.received = True
