"""The block `reuse` of config.yaml: its options. Not here: reuse itself (reuse/)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import yaml

from edge_app.config.blocks import HeadConfig
from edge_app.errors import OptionError
from edge_app.geometry.polygons import polygon_of
from edge_app.options import WRONG, Point, Range, read_dataclass
from edge_app.options.document import Problems, entries

Mode = Literal["off", "gate", "auto"]


@dataclass(frozen=True, slots=True)
class ReuseConfig:
    """How much of the inference on a frame may be replaced by earlier results.

    mode: `off`: compute every frame. `gate`: repeat results while the image is unchanged. `auto`: also recompute only
    the changed regions of feature maps, if that is faster.
    max_age_s: the greatest age of data in a result; longer under high load (pipeline/degradation.py).
    tolerance: change of a pixel, in gray levels, that does not count; null: estimated from the camera's noise; 0: none,
    so that results equal those of full inference. feature_share: how far a change is propagated through the layers, as
    a share of the receptive field; null: as tuned; 1: all of it. ignore: polygons, 0..1 of the image, in which
    changes do not count. budget_ms: average inference time per frame; the tracker answers frames that exceed it.
    max_loss: share of the objects that may differ from those of full inference, on average; checked from time to time.
    refresh_share: time per changed frame that renews what partial frames left, as a share of full inference.
    """

    mode: Mode = "auto"
    max_age_s: Annotated[float, Range(0.1, 86_400)] = 30.0
    tolerance: Annotated[float, Range(0, 255)] | None = None
    feature_share: Annotated[float, Range(0, 1)] | None = None
    ignore: tuple[tuple[Point, ...], ...] = ()
    budget_ms: Annotated[float, Range(0.1)] | None = None
    max_loss: Annotated[float, Range(0, 1)] = 0.005
    refresh_share: Annotated[float, Range(0, 1)] = 0.05


OFF = ReuseConfig(mode="off")


def read_reuse(node: yaml.Node | None, problems: Problems) -> ReuseConfig:
    """Read the block; without one, reuse is off. Adds mistakes to `problems`."""
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


def for_heads(reuse: ReuseConfig, heads: Mapping[str, HeadConfig]) -> ReuseConfig:
    """The reuse options with the smallest max_age_s of all heads."""
    ages = [head.common.max_age_s for head in heads.values() if head.common.max_age_s is not None]
    return replace(reuse, max_age_s=min([reuse.max_age_s, *ages]))
