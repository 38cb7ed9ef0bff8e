"""The blocks `track` and `rules` of config.yaml, checked against the model's heads.

The options of a rule are the keyword-only arguments of its constructor, which checks their values.
Not here: the rules (rules/), the tracker (tracking/).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import yaml

from edge_app import registry
from edge_app.config.plugins import read_plugin
from edge_app.errors import ConfigError, OptionError
from edge_app.options import WRONG, Fraction, Positive, Range, Seconds, read_dataclass
from edge_app.options.document import Problems, describe, entries, nearest
from edge_app.rules import Labels, RuleContext
from edge_app.schedule import Window

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_HEADS = ("head", "heads")
RUNTIME = "runtime"  # the rule name in events about faults of the runtime itself


@dataclass(frozen=True, slots=True)
class TrackConfig:
    """Track ids for the detections of one head (tracking/).

    high: detections of at least this score are matched first. low: detections of at least this score continue existing
    tracks. start: detections of at least this score start new tracks. overlap: minimum IoU of a track's predicted box
    and a detection. confirm: a track gets its id after this many matches, with at most one miss between two of them.
    lost_s: how long a track without a match is kept.
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
    """The options that all rules have. name: the rule name in its events. schedule: when it is on; empty: always."""

    name: str
    type: str
    enabled: bool = True
    schedule: tuple[Window, ...] = ()


@dataclass(frozen=True, slots=True)
class RuleConfig:
    """One rule to build. where: file and line for error messages, `config.yaml:14`."""

    name: str
    type: str
    enabled: bool = True
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    where: str = field(default="", compare=False)
    schedule: tuple[Window, ...] = ()


def read_rules(
    blocks: Mapping[str, yaml.Node], heads: Labels, overridden: bool, problems: Problems
) -> tuple[TrackConfig | None, tuple[RuleConfig, ...]]:
    """Read the blocks `track` and `rules`. Adds mistakes to `problems`.

    overridden: the model is not the configured one; rules and tracking of heads that it does not have are ignored.
    """
    track = _read_track(blocks.get("track"), heads, overridden, problems)
    node = blocks.get("rules")
    if node is not None and not isinstance(node, yaml.SequenceNode):
        problems.add(node, f"rules: found {describe(node)}; expected a list, each with a name and a type")
        return track, ()
    read = []
    for i, child in enumerate(node.value if node is not None else ()):
        pair = read_plugin(child, "rules", f"rules[{i}]", RuleCommon, problems)
        if pair is not None and not (overridden and watched(pair[1].options) - set(heads)):
            common, plugin = pair
            shared = (common.name, common.type, common.enabled)
            read.append((RuleConfig(*shared, plugin.options, plugin.where, common.schedule), child))
    check_rules(read, heads, None if track is None else track.head, problems)
    return track, tuple(rule for rule, _ in read)


def _read_track(node: yaml.Node | None, heads: Labels, overridden: bool, problems: Problems) -> TrackConfig | None:
    track = None if node is None else read_dataclass(node, TrackConfig, "track", problems)
    if track is None or track is WRONG or (overridden and track.head not in heads):
        return None
    assert isinstance(track, TrackConfig)
    assert node is not None
    check_track(track, node, heads, problems)
    return track


def check_track(track: TrackConfig, node: yaml.Node, heads: Labels, problems: Problems) -> None:
    """Add mistakes to `problems`: the tracked head does not exist, or the scores are not in order."""
    if track.head not in heads:
        problems.add(entries(node)["head"], f"track.head: there is no head '{track.head}'{nearest(track.head, heads)}")
    if not track.low <= track.high <= track.start:
        found = f"low {track.low:g}, high {track.high:g}, start {track.start:g}"
        problems.add(node, f"track: found {found}; expected low <= high <= start")


def check_rules(
    rules: Iterable[tuple[RuleConfig, yaml.Node]], heads: Labels, tracked: str | None, problems: Problems
) -> None:
    """Construct every rule once, and add the mistakes that it finds to `problems`, with the line of the option."""
    names: set[str] = set()
    for rule, node in rules:
        given = entries(node)
        if not _NAME.fullmatch(rule.name):
            problems.add(given["name"], f"rules: found the name '{rule.name}'; expected 1 to 64 of A-Z a-z 0-9 . _ -")
        if rule.name in names:
            problems.add(given["name"], f"rules: found a second rule '{rule.name}'; expected a different name for each")
        if rule.name in heads:
            problems.add(given["name"], f"rules: found the name '{rule.name}', which a head has; expected another name")
        if rule.name == RUNTIME:
            problems.add(given["name"], f"rules: found the name '{RUNTIME}', which is reserved; expected another name")
        names.add(rule.name)
        try:
            build(rule, heads, tracked)
        except OptionError as exc:
            problems.add(given.get(exc.option, node), f"rules.{rule.name}.{exc.option}: {exc.problem}")
        except ConfigError as exc:
            problems.add(node, f"rules.{rule.name}: {exc}")


def build(rule: RuleConfig, heads: Labels, tracked: str | None, scope: str = "", state_dir: Path | None = None) -> Any:
    """Construct a rule. Raises ConfigError, mostly OptionError, if its options do not fit the model.

    scope, state_dir: as of a RuleContext.
    """
    context = RuleContext(rule.name, rule.type, heads, tracked, scope, state_dir)
    return registry.build("rules", rule.type, context, **rule.options)


def watched(options: Mapping[str, Any]) -> set[str]:
    """The heads that the options of a rule name."""
    named = [options[key] for key in _HEADS if key in options]
    return {head for value in named for head in ([value] if isinstance(value, str) else value)}
