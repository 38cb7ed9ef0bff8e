"""The rolling refresh: complete within the allowed age, exact, bounded in cost, the most doubtful tiles first."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest

from edge_app.reuse.costs import Cost, Costs
from edge_app.reuse.propagation import NEAR
from edge_app.reuse.refresh import RollingRefresh, tiles
from tests.reuse import models
from tests.reuse.test_dirty_rects import covered

SECOND = 10**9


@pytest.fixture
def features():
    with ExitStack() as stack:
        _, found = models.features(models.SHIPPED, stack, NEAR)
        found.costs = Costs(60.0, {segment.name: Cost(0.1, 10.0) for segment in found.segments})
        found.fill(picture(1))
        outputs(found)
        yield found


@pytest.fixture
def refreshed(features, monkeypatch):
    """The tiles that were refreshed, in order: segment and box."""
    made, refresh = [], features.refresh

    def record(segment, tile):
        made.append((segment.name, tile))
        refresh(segment, tile)

    monkeypatch.setattr(features, "refresh", record)
    return made


def picture(seed):
    return models.picture(seed, (320, 320))[None]


def outputs(features):
    return {(head, name): np.array(v) for head in features.heads for name, v in features.outputs_of(head).items()}


def complete_round(rolling, start=0.7, step=0.02, earned_ms=0.0):
    """Advance from an age to the end of the round. Returns the age then, as a share of the maximum."""
    age = start
    while True:
        rolling.advance(round(age * rolling.max_age_ns), 0, earned_ms, changed=False)
        if rolling.complete:
            return age
        age += step


def test_a_round_renews_all_of_every_segment_within_the_allowed_age(features, refreshed):
    assert complete_round(RollingRefresh(features, 10 * SECOND)) <= 1.0
    for segment in features.segments:
        boxes = [box for name, box in refreshed if name == segment.name]
        assert covered(boxes, (320, 320)).all()
        assert len(boxes) == len(set(boxes))
    assert len(refreshed) > len(features.segments), "in tiles"


def test_a_round_equals_a_full_run(features):
    features.set_image(picture(2))  # no change was reported
    complete_round(RollingRefresh(features, SECOND))
    found = outputs(features)
    features.fill(picture(2))
    for key, expected in outputs(features).items():
        assert np.allclose(found[key], expected, rtol=1e-4, atol=1e-4), key


def test_tiles_run_in_different_frames_before_the_maximum_age(features, refreshed):
    rolling, most = RollingRefresh(features, SECOND), 0
    for step in range(30):
        before = len(refreshed)
        rolling.advance(round((0.7 + 0.01 * step) * SECOND), 0, 0.0, changed=False)
        most = max(most, len(refreshed) - before)
        if rolling.complete:
            break
    assert rolling.complete
    assert most <= 2


def test_the_refresh_spends_at_most_what_frames_earn(features):
    rolling, image, spent = RollingRefresh(features, 10**6 * SECOND), picture(1).copy(), 0.0
    earned_ms = 0.05 * features.costs.dense
    for i in range(60):
        image = image.copy()
        image[:, 96:128, 16 * (i % 16) : 16 * (i % 16) + 32] += 90
        features.update(image, [(16 * (i % 16), 96, 16 * (i % 16) + 32, 128)])
        outputs(features)
        features.refreshed_ms = 0.0
        features.set_image(image)
        rolling.advance(i, 0, earned_ms, changed=True)
        spent += features.refreshed_ms
        assert spent <= (i + 1) * earned_ms
    assert spent > 0.1 * 60 * earned_ms


def test_the_most_doubtful_tile_is_first_and_tiles_without_doubt_do_not_run(features, refreshed):
    segment = features.segments[0]
    first, *_, other, last = tiles(segment, features.costs.segments[segment.name])
    features.doubts.add(segment.name, other, 0.1)
    features.doubts.add(segment.name, last, 0.9)
    rolling = RollingRefresh(features, 10**6 * SECOND)
    for _ in range(50):
        rolling.advance(0, 0, 6.0, changed=False)
    assert refreshed[:2] == [(segment.name, last), (segment.name, other)]
    assert (segment.name, first) not in refreshed
    assert not features.doubts


def test_nothing_is_refreshed_without_doubt_or_age(features, refreshed):
    rolling = RollingRefresh(features, 100 * SECOND)
    for i in range(60):
        assert not rolling.active(i * SECOND, 0, earns=True)
        rolling.advance(i * SECOND, 0, 6.0, changed=True)
    assert not refreshed


@pytest.mark.parametrize("b_ms", [0.0, 1.0, 10.0])
def test_tiles_cost_little_more_than_the_whole(features, b_ms):
    cost = Cost(0.1, b_ms)
    for segment in features.segments:
        made = tiles(segment, cost)
        assert covered(made, (320, 320)).all()
        with segment.unlimited():
            total = sum(cost(segment.part(segment.needed(box))) for box in made)
        assert total <= 1.25 * cost(1.0) + 1e-9
