"""The block `reuse` of config.yaml: what may stand in it.

Not here: what is made of it (reuse/).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

import yaml

from edge_app.errors import OptionError
from edge_app.geometry.polygons import polygon_of
from edge_app.options import WRONG, Point, Range, read_dataclass
from edge_app.options.document import Problems, entries

Mode = Literal["off", "gate", "auto"]


@dataclass(frozen=True, slots=True)
class ReuseConfig:
    """How much of a frame's inference may be answered by what was computed before.

    mode: `off`, every frame is computed; `gate`, results stand while nothing in the picture changes; `auto`, besides
    that only what changed is computed again, where that pays.
    max_age_s: nothing that a result rests on is older, but under strain (ladder.py). tolerance: by how many grey levels
    a spot may change before it is computed again; null: learned from the camera's noise; 0: none, reuse then equals
    full inference. feature_share: how far changes are followed from layer to layer, as a share of how far they can
    reach; null: as tuned; 1: all the way. ignore: polygons, 0..1 of the picture, in which nothing counts as a change.
    budget_ms: inference a frame may take on average; frames beyond it are answered by the tracker.
    """

    mode: Mode = "auto"
    max_age_s: Annotated[float, Range(0.1, 86_400)] = 30.0
    tolerance: Annotated[float, Range(0, 255)] | None = None
    feature_share: Annotated[float, Range(0, 1)] | None = None
    ignore: tuple[tuple[Point, ...], ...] = ()
    budget_ms: Annotated[float, Range(0.1)] | None = None


OFF = ReuseConfig(mode="off")


def read_reuse(node: yaml.Node | None, problems: Problems) -> ReuseConfig:
    """Read the block; without one nothing is reused. Mistakes are noted."""
    read = OFF if node is None else read_dataclass(node, ReuseConfig, "reuse", problems)
    if read is WRONG:
        return OFF
    assert isinstance(read, ReuseConfig)
    for polygon in read.ignore:
        try:
            polygon_of("ignore", polygon)
        except OptionError as exc:
            problems.add(entries(node)["ignore"], f"reuse.{exc}")
    return read
