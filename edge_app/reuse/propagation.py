"""How far a change is propagated through the layers: all the way, or as far as it matters."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Propagation:
    """How far a change is propagated.

    share: of a segment's receptive field, 0..1 (Segment.limit). tolerance: a change ends where values differ by less,
    as a share of the map's root mean square.
    """

    share: float
    tolerance: float


EXACT = Propagation(1.0, 0.0)
NEAR, FAR = Propagation(0.35, 0.5), Propagation(0.6, 0.3)  # defaults without tuning: for expensive and cheap frames
_CHEAP, _EXPENSIVE = 0.35, 0.5  # of a dense frame: switch to FAR below, to NEAR above


def adapted(propagation: Propagation, share: float) -> Propagation:
    """Without tuned values, propagate changes far on cheap frames. share: a frame's cost in dense frames."""
    if propagation == NEAR and share < _CHEAP:
        return FAR
    if propagation == FAR and share > _EXPENSIVE:
        return NEAR
    return propagation
