"""Ranges of tensors from a file, such as `edge-app slim shrink` learns: JSON, {tensor: [least, greatest]}.

The other tensors get the ranges of the calibration images. Not here: measuring those (ranges.py).
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from edge_app.compiler.net import Net
from edge_app.compiler.ranges import Ranges, TensorRange
from edge_app.errors import ConfigError, foreign_text
from edge_app.options.files import MAX_TEXT, read_regular

Limits = dict[str, tuple[float, float]]
_EXPECTED = "expected {tensor: [least, greatest]}, with 0 between them"


def read(path: Path) -> Limits:
    """The ranges of a file. Raises ConfigError if it is not such a file."""
    try:
        content = json.loads(read_regular(path, MAX_TEXT))
    except (OSError, ValueError, RecursionError) as exc:
        raise ConfigError(f"--ranges {path}: cannot be read as JSON; {_EXPECTED}") from exc
    if not isinstance(content, dict) or not content:
        raise ConfigError(f"--ranges {path}: found no ranges; {_EXPECTED}")
    return {name: _limits(name, value, path) for name, value in content.items()}


def _limits(name: str, value: object, path: Path) -> tuple[float, float]:
    numbers = value if isinstance(value, list) and len(value) == 2 else []
    valid = [float(n) for n in numbers if isinstance(n, (int, float)) and not isinstance(n, bool) and math.isfinite(n)]
    if len(valid) != 2 or not valid[0] <= 0 <= valid[1] or valid[0] == valid[1]:
        raise ConfigError(f"--ranges {path}: {foreign_text(name)}: found {foreign_text(str(value))}; {_EXPECTED}")
    return valid[0], valid[1]


def applied(measured: Ranges, given: Limits, path: Path) -> Ranges:
    """The measured ranges, replaced by the given ones. Biases of tensors with a given range are not corrected.

    Raises ConfigError if a given tensor is not one of the model.
    """
    unknown = [name for name in given if name not in measured]
    if unknown:
        found = f"found the tensor '{foreign_text(unknown[0])}'" + (
            f" and {len(unknown) - 1} more" if unknown[1:] else ""
        )
        raise ConfigError(f"--ranges {path}: {found}, which the model does not have; expected the ranges of this model")
    return measured | {name: TensorRange(*limits) for name, limits in given.items()}


def for_converter(net: Net, given: Limits) -> dict[str, tuple[list[float], list[float]]]:
    """The given ranges of the tensors of one graph, as the RKNN converter takes them."""
    names = {value.name for value in net.inputs} | {output for node in net.nodes for output in node.outputs}
    return {name: ([low], [high]) for name, (low, high) in given.items() if name in names}
