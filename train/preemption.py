"""Preemption: a signal asks the run to stop, from the scheduler of a cluster or by Ctrl-C."""

import signal
import threading
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Preemption:
    """Context in which SIGTERM and the first SIGINT (Ctrl-C) only set the attribute `received`.

    A second Ctrl-C interrupts at once, in case the run does not come to its next step.
    """

    def __init__(self) -> None:
        self.received = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Preemption":
        """Install the signal handlers, which is possible only in the main thread."""
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:  # as a shell lets its background jobs ignore Ctrl-C
                    self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        """Restore the previous signal handlers."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self.received = True
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)
