"""Build the stages of a configuration: capture, inference, tracker, rules, publisher.

Not here: the loop (loop.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import cv2

from edge_app.capture.clips import ClipReader
from edge_app.capture.thread import Capture
from edge_app.clock import Clock
from edge_app.config import Config, HeadConfig
from edge_app.config import rules as rule_config
from edge_app.device import device_id
from edge_app.frame import Frame
from edge_app.inference import precision
from edge_app.inference.engine import open_backend
from edge_app.inference.stage import Inference
from edge_app.pipeline.rule_stage import ConfiguredRule
from edge_app.pipeline.schedules import source_closed
from edge_app.pipeline.sharing import CameraShare
from edge_app.publish.publisher import Publisher
from edge_app.publish.transport import Handover
from edge_app.reuse import cost_file
from edge_app.state import StateBoard
from edge_app.tracking.tracker import Tracker


def configure_opencv() -> None:
    """Set OpenCV up for small frames."""
    cv2.setNumThreads(1)  # a second OpenCV thread would compete with the engine for its core
    if hasattr(cv2, "ipp"):
        cv2.ipp.setUseIPP(False)  # after a decoder, IPP resizes an image 20 % slower than OpenCV's own code


def deadline_s(config: Config, *, replay: bool) -> float | None:
    """The longest that one inference run may take; None: a replay waits for it."""
    return None if replay else config.model.deadline_s


def build_source(
    config: Config,
    clock: Clock,
    *,
    replay: bool,
    prepare: Callable[[Frame], None] | None = None,
    share: CameraShare | None = None,
) -> Capture | ClipReader:
    """Build and start the capture stage; outside the hours of its schedule, it is paused. Raises ConfigError or
    SourceError.

    share: of one camera of several. prepare: a replay reads ahead on another thread and calls this there; None: it does
    not read ahead.
    """
    if replay:
        reader = ClipReader(config.source, clock, prepare=prepare)
        reader.start()
        return reader
    capture = (
        Capture(config.source, clock) if share is None else Capture(config.source, clock, notify=share.engine.notify)
    )
    capture.start(paused=source_closed(config, clock))
    return capture


def build_inference(config: Config, *, replay: bool, share: CameraShare | None = None) -> Inference:
    """Load the model; share: of one camera of several. Raises ConfigError, ModelError or BackendError."""
    model = config.model  # of a replay, `auto` means float: its output must not depend on a measured time
    if not replay:
        model = precision.choose(config.manifest, model, config.heads, config.device.state_dir)
    open_engine = open_backend if share is None else share.engine.open_backend
    backend = open_engine(config.manifest, model)
    try:
        inference = Inference(
            config.manifest,
            backend,
            config.heads,
            tolerant=not replay,
            reuse=config.reuse,
            state_dir=config.device.state_dir,
        )
    except BaseException:
        backend.close()
        raise
    if not replay and inference.reuses:  # measured costs differ from run to run; a replay uses stored or assumed ones
        file = cost_file.path(config.device.state_dir, inference.machine, config.manifest)
        cost_file.measure_once(file, inference.measure)
    return inference


def build_tracker(config: Config) -> Tracker | None:
    """Build the tracker, or None if the configuration has no block `track`."""
    return None if config.track is None else Tracker(config.track)


def build_rules(config: Config) -> dict[str, ConfiguredRule]:
    """Build every rule, by name. Raises ConfigError if its options do not match the model."""
    labels = labels_of(config)
    tracked = None if config.track is None else config.track.head
    return {
        block.name: ConfiguredRule(
            rule_config.build(block, labels, tracked, config.scope, config.device.state_dir),
            block.enabled,
            key=(replace(block, enabled=True), labels, tracked),
        )
        for block in config.rules
    }


def build_publisher(
    config: Config,
    *,
    clock: Clock,
    board: StateBoard,
    replay: bool,
    previous: Handover | None = None,
    share: CameraShare | None = None,
) -> Publisher:
    """Build the publisher with its sinks and, except in a replay, its outbox. Raises ConfigError or SinkError.

    share: of one camera of several, which share the sinks and the outbox.
    """
    labels = {name: head.labels for name, head in config.manifest.heads.items()}
    id_ = device_id(config.device.id, replay=replay)
    upstream = None if share is None else share.upstream
    return Publisher(config, clock, id_, labels, durable=not replay, previous=previous, board=board, upstream=upstream)


def labels_of(config: Config) -> dict[str, tuple[str, ...]]:
    """The labels of each configured head."""
    return {name: config.manifest.heads[name].labels for name in config.heads}


def changed_heads(old: Config, config: Config) -> dict[str, HeadConfig] | None:
    """The heads with other options, if the loaded model can take them: enabled, score, filters, schedule.

    None: the change needs the model to be built again.
    """
    same_model = (old.model, old.manifest, old.reuse) == (config.model, config.manifest, config.reuse)
    if not same_model or list(old.heads) != list(config.heads):
        return None
    changed = {name: head for name, head in config.heads.items() if head != old.heads[name]}
    for name, head in changed.items():
        was = old.heads[name]
        enabled, ignore, schedule = was.common.enabled, was.common.ignore, was.common.schedule
        same = replace(head.common, enabled=enabled, ignore=ignore, schedule=schedule) == was.common
        if not same or {**head.options, "score": None} != {**was.options, "score": None}:
            return None
    return changed


def publisher_settings(config: Config) -> object:
    """The parts of a configuration that the publisher depends on."""
    rules = [(rule.name, rule.type) for rule in config.rules]
    labels = [rule.options.get("labels") for rule in config.rules], {n: h.boxes.labels for n, h in config.heads.items()}
    shown = config.snapshots, config.web, config.reuse.mode, config.manifest, labels
    return config.device, config.source.common.name, config.publish, config.outbox, config.sinks, rules, shown
