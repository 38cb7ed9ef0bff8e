"""The small parts: boxes, costs, the guard, the sweep, the budget, kept crops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.frame import Classification
from edge_app.reuse.budget import TimeBudget
from edge_app.reuse.costs import Stopwatch, assumed, fitted
from edge_app.reuse.crop_cache import KeptCrops
from edge_app.reuse.dirty_rects import MOST, merged, of_blocks
from edge_app.reuse.refresh import Sweep
from edge_app.reuse.throttle import Guard, Parts
from tests.reuse.models import picture


def covered(boxes, size):
    seen = np.zeros((size[1], size[0]), bool)
    for x1, y1, x2, y2 in boxes:
        seen[y1:y2, x1:x2] = True
    return seen


@given(
    cells=st.lists(st.tuples(st.integers(0, 14), st.integers(0, 20)), max_size=60),
    size=st.sampled_from([(336, 240), (330, 235), (352, 250)]),
)
def test_boxes_cover_every_changed_block_and_are_few(cells, size):
    mask = np.zeros((15, 21), np.uint8)
    for row, column in cells:
        mask[row, column] = 255
    boxes = of_blocks(mask, size)
    assert len(boxes) <= MOST
    assert bool(boxes) == bool(cells)
    seen = covered(boxes, size)
    for row, column in cells:
        y1, y2 = row * size[1] // 15, (row + 1) * size[1] // 15
        x1, x2 = column * size[0] // 21, (column + 1) * size[0] // 21
        assert seen[y1:y2, x1:x2].all()


@given(
    boxes=st.lists(
        st.tuples(st.integers(0, 200), st.integers(0, 200), st.integers(1, 80), st.integers(1, 80)), max_size=8
    ),
    halo=st.integers(0, 100),
    call=st.floats(0, 20000),
)
def test_merging_loses_nothing_and_never_costs_more(boxes, halo, call):
    found = [(x, y, x + w, y + h) for x, y, w, h in boxes]
    together = merged(found, halo, call)

    def cost(some):
        return sum((x2 - x1 + halo) * (y2 - y1 + halo) + call for x1, y1, x2, y2 in some)

    assert cost(together) <= cost(found) + 1e-6
    assert (covered(together, (300, 300)) >= covered(found, (300, 300))).all()


def test_far_boxes_stay_apart_and_near_ones_join():
    near, far = [(0, 0, 32, 32), (32, 0, 64, 32)], [(0, 0, 32, 32), (600, 400, 632, 432)]
    assert merged(near, 32, 0) == [(0, 0, 64, 32)]
    assert sorted(merged(far, 32, 0)) == sorted(far)


def test_a_cost_is_a_line_through_what_was_measured():
    cost = fitted((0.1, 2.0), 11.0)
    assert (cost(0.1), cost(1.0)) == (pytest.approx(2.0), pytest.approx(11.0))


def test_assumed_costs_share_out_the_work():
    costs = assumed({"a": 1.0, "b": 3.0})
    assert costs.units["b"].b == pytest.approx(3 * costs.units["a"].b)


def test_the_guard_rests_longer_and_longer_where_all_is_dense_and_not_where_reuse_pays():
    guard = Guard(0.05)
    pauses = [guard.note(1.05, dense=True) for _ in range(40)]
    rests = [pause for pause in pauses if pause]
    assert pauses[:5] == [0] * 5, "a few dense frames are no reason yet"
    assert rests == sorted(rests)
    assert rests[4] == 5
    assert rests[-1] == 15, "where it never pays it is looked for rarely"
    paying = Guard(0.05)
    assert not any(paying.note(0.4, dense=False) for _ in range(100))


def test_a_look_that_was_of_use_makes_rests_short_again():
    guard = Guard(0.05)
    for _ in range(40):
        guard.note(1.05, dense=True)
    guard.note(0.05, dense=False)
    rests = [guard.note(1.05, dense=True) for _ in range(9)]
    assert 0 < max(rests) <= 5


def test_the_guard_gives_up_parts_that_save_nothing():
    guard = Guard(0.05)
    assert any(guard.note(1.0, dense=False) for _ in range(40))


def test_parts_that_did_not_earn_back_the_filling_are_not_tried_for_longer_and_longer():
    parts, waited = Parts(), []
    for _ in range(6):
        parts.note(1.2)  # the caches are filled
        parts.note(0.9)
        parts.end()
        waited.append(next(i for i in range(1000) if parts.may()))
    assert waited == [3, 7, 15, 31, 31, 31]


def test_parts_that_pay_are_tried_again_at_once():
    parts = Parts()
    parts.note(1.2)
    for _ in range(5):
        parts.note(0.6)
    parts.end()
    assert parts.may()


def test_a_stopwatch_leaves_out_the_first_time_and_what_interrupts():
    watch, naps = Stopwatch(), iter([200_000, 10, 10, 10, 200_000])
    for _ in range(5):
        watch.time("sum", lambda: sum(range(next(naps))))
    assert watch.ms("sum") < 1


@pytest.mark.parametrize(("height", "align"), [(576, 32), (320, 32), (250, 32), (96, 64)])
def test_a_sweep_covers_the_picture_within_the_age_that_is_allowed(height, align):
    sweep = Sweep((320, height), 10_000, align)
    tiles, now, since = [], 0, 0
    while not sweep.complete:
        now += 100
        tile = sweep.due(now, since)
        if tile is not None:
            tiles.append(tile)
    assert covered(tiles, (320, height)).all()
    assert 5_000 < sweep.began_ns <= now <= 10_000
    assert len(tiles) == len(set(tiles))


def test_a_budget_lets_through_as_much_as_is_earned():
    budget = TimeBudget(2.0)
    spent = 0.0
    for _ in range(1000):
        budget.earn()
        if budget.spend(10.0):
            spent += 10.0
    assert spent == pytest.approx(2000, rel=0.02)


def test_a_budget_that_was_saved_is_limited():
    budget = TimeBudget(1.0)
    for _ in range(1000):
        budget.earn()
    assert sum(budget.spend(1.0) for _ in range(100)) <= 5


RESULT = Classification(np.array([1], np.int32), np.array([0.9], np.float32))
BOX = np.array([100, 100, 160, 180], np.float32)


@pytest.fixture
def kept():
    crops = KeptCrops(max_age_ns=1000)
    crops.add(BOX, picture(1, (64, 64)), RESULT, 0)
    crops.end_frame()
    return crops


def test_a_crop_that_looks_the_same_keeps_its_result_though_its_box_moves(kept):
    found = kept.find(BOX + 5, picture(1, (64, 64)), 500)
    assert found == (RESULT, 0)


@pytest.mark.parametrize(("box", "seed", "now_ns"), [(BOX, 2, 500), (BOX + 200, 1, 500), (BOX, 1, 1500), (BOX, 1, -5)])
def test_another_look_another_place_or_too_old_is_computed_again(kept, box, seed, now_ns):
    assert kept.find(box, picture(seed, (64, 64)), now_ns) is None


def test_an_object_that_is_gone_is_forgotten(kept):
    kept.end_frame()
    assert kept.find(BOX, picture(1, (64, 64)), 500) is None
