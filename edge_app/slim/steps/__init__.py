"""Steps that make a trained network smaller, one file each: the file's name is the step's `type`. Needs torch.

_step.py      the contract
train.py      trains on, or from scratch
stem.py       divides the input: space-to-depth, or patches
sparsify.py   trains with a penalty on BatchNorm's gains, so that `prune` finds channels to drop
prune.py      drops channels, in the NPU's blocks, until a share of the cycles is left
drop.py       drops whole residual blocks
decompose.py  splits convolutions into two of low rank
share.py      lets the weights of a layer take few values
distil.py     trains with the outputs of a larger network
qat.py        trains with int8 rounding, and learns the ranges
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

from edge_app.slim.steps._step import Control, Hooks, Step, Work

__all__ = ["Control", "Hooks", "Step", "Work", "named", "names"]


def names() -> tuple[str, ...]:
    """The types of steps: their files."""
    return tuple(sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py")))


def named(name: str) -> type[Step]:
    """The class of a type."""
    found: type[Step] = import_module(f"{__name__}.{name}").Step
    return found
