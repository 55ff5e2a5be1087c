"""Being told to stop: by the scheduler of a cluster, before it takes the machine away."""

import signal
import threading
from types import FrameType


class Preemption:
    """While it is entered, SIGTERM is only noted."""

    def __init__(self) -> None:
        self.received = False
        self._before: signal.Handlers | int | None = None

    def __enter__(self) -> "Preemption":
        """Listen, where a program may: in its main thread."""
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._note)  # type: ignore[assignment]
        return self

    def __exit__(self, *_: object) -> None:
        """Whoever listened before listens again."""
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.received = True
