"""The fuzz targets: each passes its input to one parser and accepts only the exceptions that the parser documents.

    target(data: bytes) -> None

TARGETS has them by name; corpus/NAME/ has a few inputs of each, valid and hostile ones. To add a target, write a
function with `@target(…)` in one of the modules *_targets.py and add its folder; the test and the runner find it.
"""

from __future__ import annotations

from tests.fuzz import file_targets, model_targets, peer_targets  # noqa: F401  they fill the table
from tests.fuzz.registry import CORPUS, TARGETS, Target, seeds

__all__ = ["CORPUS", "TARGETS", "Target", "seeds"]
