"""The compute time that a method may spend on a clip: a fixed share per frame, which accumulates until it is spent."""

from __future__ import annotations


class CostAllowance:
    """Accumulates `share` (1 = the cost of one full inference) for every frame."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._balance = 0.0

    def earn(self) -> None:
        """Add the share of one frame."""
        self._balance += self._share

    def affords(self, price: float) -> bool:
        """Whether the balance covers `price`, up to rounding errors."""
        return self._balance >= price * (1 - 1e-9)

    def spend(self, price: float) -> None:
        """Subtract `price`. The balance may become negative."""
        self._balance -= price

    def pay(self, price: float) -> bool:
        """Spend `price` if the balance covers it. Returns whether it did."""
        if not self.affords(price):
            return False
        self.spend(price)
        return True
