"""From a configuration to the objects that the loop runs: source, model, tracker, rules, publisher.

Not here: the loop (loop.py), the plug-ins themselves (registry.py finds them).
"""

from __future__ import annotations

from edge_app.capture.clips import ClipReader
from edge_app.capture.thread import Capture
from edge_app.clock import Clock
from edge_app.config import Config
from edge_app.config import rules as rule_config
from edge_app.device import device_id
from edge_app.inference.stage import Inference, open_backend
from edge_app.pipeline.rule_stage import ConfiguredRule
from edge_app.publish.publisher import Publisher
from edge_app.reuse import profile
from edge_app.tracking.tracker import Tracker


def build_source(config: Config, clock: Clock, *, replay: bool) -> Capture | ClipReader:
    """Start capturing. Raises ConfigError or SourceError."""
    capture = (ClipReader if replay else Capture)(config.source, clock)
    capture.start()
    return capture


def build_inference(config: Config, *, replay: bool) -> Inference:
    """Load the model. Raises ConfigError, ModelError or BackendError."""
    backend = open_backend(config.manifest, config.model)
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
    if not replay:  # a replay plans with stored or assumed costs, never with measured ones
        profile.measure_once(config.device.state_dir, config.manifest, inference.measure)
    return inference


def build_tracker(config: Config) -> Tracker | None:
    """The tracker of the block `track`, or None without one."""
    return None if config.track is None else Tracker(config.track)


def build_rules(config: Config) -> dict[str, ConfiguredRule]:
    """Construct every rule, by name. Raises ConfigError where its options do not fit the model."""
    labels = labels_of(config)
    tracked = None if config.track is None else config.track.head
    return {
        block.name: ConfiguredRule(
            rule_config.build(block, labels, tracked), block.enabled, key=(block, labels, tracked)
        )
        for block in config.rules
    }


def build_publisher(config: Config, clock: Clock, *, replay: bool) -> Publisher:
    """Open sinks and outbox. Raises ConfigError or SinkError."""
    labels = {name: head.labels for name, head in config.manifest.heads.items()}
    return Publisher(config, clock, device_id(config.device.id, replay=replay), labels, durable=not replay)


def labels_of(config: Config) -> dict[str, tuple[str, ...]]:
    """By configured head, its labels."""
    return {name: config.manifest.heads[name].labels for name in config.heads}
