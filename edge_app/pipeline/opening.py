"""build(config) -> Pipeline, build_cameras(config) -> Cameras.

Not here: building the stages (build.py), the loop (loop.py).
"""

from __future__ import annotations

import os

from edge_app.clock import ClipClock, SystemClock
from edge_app.config import Config
from edge_app.pipeline.build import configure_opencv
from edge_app.pipeline.cameras import Cameras
from edge_app.pipeline.loop import Pipeline


def build(config: Config, *, replay: bool = False) -> Pipeline:
    """Build every stage of the configuration. Raises EdgeError if one of them cannot be built.

    replay: process every frame of a clip, in order, as fast as possible, on the clip's own clock, and publish a result
    for each.
    """
    configure_opencv()
    overlap = not replay or len(os.sched_getaffinity(0)) > config.model.threads
    return Pipeline(config, ClipClock() if replay else SystemClock(), replay=replay, overlap=overlap)


def build_cameras(config: Config) -> Cameras:
    """Build the pipelines of a configuration with several cameras. Raises EdgeError if one cannot be built."""
    configure_opencv()
    return Cameras(config, SystemClock())
