"""Fixtures of the outbox: `factory`, `open_box`."""

from tests.outbox.boxes import factory, open_box

__all__ = ["factory", "open_box"]
