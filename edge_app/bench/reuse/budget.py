"""What a method may spend on a clip, a share a frame; what is not spent is saved."""

from __future__ import annotations


class Budget:
    """Saves up `share` (of the cost of full inference) a frame, until `pay` can take a price."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._saved = 0.0

    def earn(self) -> None:
        """A frame has come."""
        self._saved += self._share

    def pay(self, price: float) -> bool:
        """Whether there is enough; then it is taken. What is a hair's breadth short is enough."""
        if self._saved < price * (1 - 1e-9):
            return False
        self._saved -= price
        return True
