"""Read slim.yaml: the steps, and how they are trained and compared. Every mistake is reported with its line."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import yaml

from edge_app.errors import ConfigError
from edge_app.model import cycles
from edge_app.options import WRONG, Fraction, Positive, Range, read_dataclass
from edge_app.options.document import Problems, entries, load_yaml, nearest
from edge_app.slim import steps as kinds
from edge_app.slim.steps import Step
from edge_app.slim.steps.prune import Step as Prune


@dataclass(frozen=True, slots=True)
class Schedule:
    """What all steps share. target: the NPU whose cycles decide. seeds: each training is repeated with so many.

    batch: images per head and step. controls: whether stages are compared. scratch_steps: of the control from scratch;
    0 takes as many as all stages so far. held_out: of examples, the part that chooses nothing, if the data has none.
    """

    target: str = "rv1106"
    batch: Annotated[int, Range(2, 1024)] = 16
    rate: Annotated[float, Range(1e-7, 1)] = 0.001
    seed: Annotated[int, Range(0)] = 0
    seeds: Annotated[int, Range(1, 20)] = 1
    controls: bool = True
    scratch_steps: Annotated[int, Range(0)] = 0
    held_out: Fraction = 0.1
    augment: bool = True
    mirror: bool = False
    checkpoint_every: Positive = 200
    threads: Positive = 1


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the recipe. name: of its folder."""

    name: str
    step: Step


@dataclass(frozen=True, slots=True)
class SlimRecipe:
    """A recipe. stages: in order; several passes of a step are several stages."""

    schedule: Schedule
    stages: tuple[Stage, ...] = field(default_factory=tuple)


def digest(*parts: Any) -> str:
    """Identifies stages: the same values give the same text."""

    def plain(value: Any) -> Any:
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            values = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
            return [f"{type(value).__module__}", values]
        return [plain(each) for each in value] if isinstance(value, (list, tuple)) else value

    text = json.dumps([plain(part) for part in parts], default=str, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def load(path: Path) -> SlimRecipe:
    """Read a recipe. Raises ConfigError with one line for each mistake."""
    problems = Problems(path)
    root = load_yaml(path, problems)
    problems.raise_if_any()
    given = entries(root)
    schedule = read_dataclass(_without(root, "steps"), Schedule, "", problems)
    listed = given.get("steps")
    found: list[Step] = []
    if not isinstance(listed, yaml.SequenceNode) or not listed.value:
        problems.add(listed or root, f"steps: expected a list, each with a type: {', '.join(kinds.names())}")
    else:
        found = [step for i, node in enumerate(listed.value) for step in _step(node, f"steps[{i}]", problems)]
    problems.raise_if_any()
    assert isinstance(schedule, Schedule)
    if schedule.target not in cycles.NPUS:
        expected = " or ".join(cycles.NPUS)
        raise ConfigError(f"{path}: target: found '{schedule.target}'; expected {expected}")
    return SlimRecipe(schedule, _stages(found))


def _stages(steps: Sequence[Step]) -> tuple[Stage, ...]:
    passes = [each for step in steps for each in (step.expanded() if isinstance(step, Prune) else [step])]
    return tuple(Stage(f"{i:02}-{type(step).__module__.rpartition('.')[2]}", step) for i, step in enumerate(passes, 1))


def _step(node: yaml.Node, where: str, problems: Problems) -> list[Step]:
    type_node = entries(node).get("type") if isinstance(node, yaml.MappingNode) else None
    name = type_node.value if isinstance(type_node, yaml.ScalarNode) else ""
    if name not in kinds.names():
        found = f"{where}.type: found '{name}'{nearest(name, kinds.names())}"
        problems.add(type_node or node, f"{found}; expected one of {', '.join(kinds.names())}")
        return []
    try:
        step = read_dataclass(_without(node, "type"), kinds.named(name), where, problems)
    except ValueError as exc:
        problems.add(node, f"{where}: {exc}")
        return []
    return [] if step is WRONG else [step]


def _without(node: yaml.Node | None, key: str) -> yaml.Node | None:
    """A block without one key."""
    if not isinstance(node, yaml.MappingNode):
        return node
    pairs = [pair for pair in node.value if getattr(pair[0], "value", None) != key]
    return yaml.MappingNode(node.tag, pairs, node.start_mark, node.end_mark)
