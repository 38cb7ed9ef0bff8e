"""A limit on messages and bytes in any second."""

from __future__ import annotations

from collections import deque

MESSAGES_PER_S = 2
BYTES_PER_S = 2000
_WINDOW_S = 1.0


class Budget:
    """Allows at most 2 messages and 2,000 bytes in any window of one second. Times are monotonic, in seconds."""

    def __init__(self) -> None:
        self._spent: deque[tuple[float, int]] = deque()

    def take(self, size: int, now_s: float) -> bool:
        """Whether a message of `size` bytes may be sent now. If so, it is counted."""
        while self._spent and not 0 <= now_s - self._spent[0][0] < _WINDOW_S:
            self._spent.popleft()
        if len(self._spent) >= MESSAGES_PER_S or size + sum(bytes_ for _, bytes_ in self._spent) > BYTES_PER_S:
            return False
        self._spent.append((now_s, size))
        return True
