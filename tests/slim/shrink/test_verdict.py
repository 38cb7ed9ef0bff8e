"""Whether a stage beats its control."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="the extra `slim` is not installed")
from edge_app.slim.shrink import verdict

pytestmark = pytest.mark.system


@pytest.mark.parametrize(
    ("own", "control", "expected"),
    [
        ([0.9], [0.8], "beats its control: 0.9000 against 0.8000 X; one seed"),
        ([0.8], [0.9], "does not beat its control: 0.8000 against 0.9000 X"),
        ([0.9, 0.92], [0.8, 0.81], "beats its control: 0.9100 against 0.8050 X (spread over 2 seeds 0.0200)"),
        ([0.9, 0.8], [0.84, 0.82], "not beyond the spread: 0.8500 against 0.8300 X (spread over 2 seeds 0.1000)"),
        ([], [0.9], "not compared with X: nothing held out"),
    ],
)
def test_says_what_was_found(own, control, expected):
    assert verdict.compare(own, control, "X") == expected
