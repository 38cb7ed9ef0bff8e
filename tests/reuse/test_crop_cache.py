"""Cached results of second-stage heads: valid while crop and position are similar, up to an age."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.frame import Classification
from edge_app.reuse.crop_cache import CropCache
from tests.reuse.models import picture

RESULT = Classification(np.array([1], np.int32), np.array([0.9], np.float32))
BOX = np.array([100, 100, 160, 180], np.float32)


@pytest.fixture
def cache():
    """A cache with the result of one object, computed at 0 ns."""
    cache = CropCache(max_age_ns=1000)
    cache.add(BOX, picture(1, (64, 64)), RESULT, 0)
    cache.end_frame()
    return cache


def test_finds_the_result_of_an_object_that_moved_a_little(cache):
    assert cache.find(BOX + 5, picture(1, (64, 64)), 500) == (RESULT, 0)


@pytest.mark.parametrize(
    ("box", "seed", "now_ns"),
    [
        pytest.param(BOX, 2, 500, id="another crop"),
        pytest.param(BOX + 200, 1, 500, id="another position"),
        pytest.param(BOX, 1, 1500, id="too old"),
        pytest.param(BOX, 1, -5, id="clock went back"),
    ],
)
def test_finds_nothing_for_a_changed_object(cache, box, seed, now_ns):
    assert cache.find(box, picture(seed, (64, 64)), now_ns) is None


def test_forgets_an_object_after_a_frame_without_it(cache):
    cache.end_frame()
    assert cache.find(BOX, picture(1, (64, 64)), 500) is None
