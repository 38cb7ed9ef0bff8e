"""Read a training recipe: backbone, heads, input size, schedule. Every mistake is reported with its line.

Not here: the data that a head learns from (data/), the training itself (training.py).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from edge_app.errors import ConfigError
from edge_app.options import WRONG, Fraction, Positive, Range, read_dataclass
from edge_app.options.document import Problems, load_yaml, nearest

Task = Literal["detect", "classify", "segment", "embed"]
Rate = Annotated[float, Range(1e-7, 1)]
_DEEPEST = 32  # stride of the last map: the sides of the input are multiples of it
_BACKBONES = Path(__file__).parent / "backbones"


@dataclass(frozen=True, slots=True)
class InputSize:
    """The network's input, pixels; frames are letterboxed into it."""

    width: Annotated[int, Range(32, 1024)] = 320
    height: Annotated[int, Range(32, 1024)] = 320


@dataclass(frozen=True, slots=True)
class HeadRecipe:
    """One head. data: its own data; None uses the DATA of the command line. classes: the labels to learn; () all.

    weight: of its loss. channels: between its layers. dimensions: of an embedding.
    """

    task: Task
    data: Path | None = None
    classes: tuple[str, ...] = ()
    weight: Annotated[float, Range(0.01, 100)] = 1.0
    channels: Annotated[int, Range(8, 512)] = 64
    dimensions: Annotated[int, Range(2, 1024)] = 64


@dataclass(frozen=True, slots=True)
class Start:
    """A trained run to go on from. run: its folder (--out). share: of its cycles on `target` that pruning leaves.

    rank: channels are dropped by the L1 norm of their weights, or by BatchNorm's gains.
    """

    run: Path
    share: Annotated[float, Range(0.05, 1)] = 1.0
    target: str = "rv1106"
    rank: Literal["l1", "gain"] = "l1"


@dataclass(frozen=True, slots=True)
class Recipe:
    """A training run. width: multiplies the channels of the backbone. held_out: of examples, the part that is not
    trained on if the data does not say so. augment: change pictures at random; mirror: also swap left and right.
    checkpoint_every: steps. threads: of torch; with one, a run gives the same weights again.
    """

    heads: dict[str, HeadRecipe]
    start: Start | None = None
    backbone: str = "edge"
    width: Annotated[float, Range(0.1, 4)] = 1.0
    input: InputSize = field(default_factory=InputSize)
    steps: Positive = 2000
    batch: Annotated[int, Range(2, 1024)] = 16
    rate: Rate = 0.002
    seed: Annotated[int, Range(0)] = 0
    augment: bool = True
    mirror: bool = True
    held_out: Fraction = 0.1
    checkpoint_every: Positive = 200
    threads: Positive = 1

    def fingerprint(self, data: str) -> str:
        """Identifies a run: recipe and data. What may change when a run goes on, such as threads, does not count."""
        values = {k: v for k, v in asdict(self).items() if k not in ("checkpoint_every", "threads")}
        return hashlib.sha256(json.dumps([values, data], default=str, sort_keys=True).encode()).hexdigest()


def backbones() -> tuple[str, ...]:
    """The names of the backbones: their files."""
    return tuple(sorted(path.stem for path in _BACKBONES.glob("[a-z]*.py")))


def load(path: Path) -> Recipe:
    """Read a recipe. Raises ConfigError with one line for each mistake."""
    problems = Problems(path)
    root = load_yaml(path, problems)
    recipe = WRONG if root is None else read_dataclass(root, Recipe, "", problems)
    problems.raise_if_any()
    assert isinstance(recipe, Recipe)
    check(recipe, path)
    return recipe


def check(recipe: Recipe, path: Path) -> None:
    """Raise ConfigError for values that do not fit each other."""
    if not recipe.heads:
        raise ConfigError(f"{path}: heads: found none; expected at least one")
    if recipe.backbone not in backbones():
        found = f"backbone: found '{recipe.backbone}'{nearest(recipe.backbone, backbones())}"
        raise ConfigError(f"{path}: {found}; expected one of {', '.join(backbones())}")
    for name, side in (("width", recipe.input.width), ("height", recipe.input.height)):
        if side % _DEEPEST:
            raise ConfigError(f"{path}: input.{name}: found {side}; expected a multiple of {_DEEPEST}")
    for name in recipe.heads:
        if not name.isidentifier() or name == "backbone":
            raise ConfigError(f"{path}: heads: found the name '{name}'; expected letters, digits and _, not 'backbone'")
