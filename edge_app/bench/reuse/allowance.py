"""What a method may spend on a clip, a share a frame; what is not spent is saved."""

from __future__ import annotations


class CostAllowance:
    """Saves up `share` (of the cost of full inference) a frame, until `pay` can take a price."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._saved = 0.0

    def earn(self) -> None:
        """A frame has come."""
        self._saved += self._share

    def affords(self, price: float) -> bool:
        """Whether there is enough. What is a hair's breadth short is enough."""
        return self._saved >= price * (1 - 1e-9)

    def spend(self, price: float) -> None:
        """Take what something has cost, also where that is more than there was."""
        self._saved -= price

    def pay(self, price: float) -> bool:
        """Whether there is enough; then it is taken."""
        if not self.affords(price):
            return False
        self.spend(price)
        return True
