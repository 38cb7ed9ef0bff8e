"""The blocks `track` and `rules` of config.yaml: what may stand in them, and whether it fits the model.

A rule's own options are its constructor's arguments, and constructing it is their check. Not here: what rules do
(analytics/), nor the tracker (tracking.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import yaml

from edge_app import registry
from edge_app.errors import ConfigError, OptionError
from edge_app.options import Fraction, Positive, Range, Seconds
from edge_app.options.document import Problems, entries, nearest
from edge_app.rules import Labels, RuleContext

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADS = ("head", "heads")
RUNTIME = "runtime"  # the name under which the runtime tells of its own faults


@dataclass(frozen=True, slots=True)
class TrackConfig:
    """Identities for the detections of one head (tracking.py).

    Scores: from `high` on a box is sure, from `low` on it may only continue a track, from `start` on it may begin one.
    overlap: least IoU of a track's expected box with a detection. confirm: sightings, with one miss at most between,
    after which a track gets its id. lost_s: how long an unseen object is expected back.
    """

    head: str
    high: Fraction = 0.5
    low: Fraction = 0.1
    start: Fraction = 0.6
    overlap: Annotated[float, Range(0.01, 1)] = 0.1
    confirm: Positive = 2
    lost_s: Seconds = 1.0
    max_tracks: Annotated[int, Range(1, 1000)] = 300
    mix_classes: bool = False


@dataclass(frozen=True, slots=True)
class RuleCommon:
    """What every rule has. name: what its events are published under."""

    name: str
    type: str
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class RuleConfig:
    """One rule to build. where: `config.yaml:14`, for messages."""

    name: str
    type: str
    enabled: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)
    where: str = ""


def check_track(track: TrackConfig, node: yaml.Node, heads: Labels, problems: Problems) -> None:
    """Note where the tracked head is none, or the scores are in no order that makes sense."""
    if track.head not in heads:
        problems.add(entries(node)["head"], f"track.head: there is no head '{track.head}'{nearest(track.head, heads)}")
    if not track.low <= track.high <= track.start:
        found = f"low {track.low:g}, high {track.high:g}, start {track.start:g}"
        problems.add(node, f"track: found {found}; expected low <= high <= start")


def check_rules(
    rules: Iterable[tuple[RuleConfig, yaml.Node]], heads: Labels, tracked: str | None, problems: Problems
) -> None:
    """Construct every rule once and note what it finds wrong, with the line of the option."""
    names: set[str] = set()
    for rule, node in rules:
        given = entries(node)
        if not _NAME.fullmatch(rule.name):
            problems.add(given["name"], f"rules: found the name '{rule.name}'; expected 1 to 64 of A-Z a-z 0-9 . _ -")
        if rule.name in names:
            problems.add(given["name"], f"rules: a second rule '{rule.name}'; give each a name of its own")
        if rule.name in heads:
            problems.add(given["name"], f"rules: found the name '{rule.name}', which is a head's; give it another")
        if rule.name == RUNTIME:
            problems.add(given["name"], f"rules: found the name '{RUNTIME}', which is the runtime's own")
        names.add(rule.name)
        try:
            build(rule, heads, tracked)
        except OptionError as exc:
            problems.add(given.get(exc.option, node), f"rules.{rule.name}.{exc.option}: {exc.problem}")
        except ConfigError as exc:
            problems.add(node, f"rules.{rule.name}: {exc}")


def build(rule: RuleConfig, heads: Labels, tracked: str | None) -> Any:
    """Construct a rule. Raises ConfigError, mostly OptionError, where its options do not fit the model."""
    return registry.build("rules", rule.type, RuleContext(rule.name, rule.type, heads, tracked), **rule.options)


def watched(options: Mapping[str, Any]) -> set[str]:
    """The heads that a rule's options name."""
    named = [options[key] for key in _HEADS if key in options]
    return {head for value in named for head in ([value] if isinstance(value, str) else value)}
