"""Dirty rectangles cover all changes, are few, and are joined only if that is cheaper."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edge_app.reuse.dirty_rects import MAX_BOXES, boxes_of_blocks, merge_boxes


def covered(boxes, size):
    """The pixels that boxes cover, (height, width) bool."""
    mask = np.zeros((size[1], size[0]), bool)
    for x1, y1, x2, y2 in boxes:
        mask[y1:y2, x1:x2] = True
    return mask


@given(
    cells=st.lists(st.tuples(st.integers(0, 14), st.integers(0, 20)), max_size=60),
    size=st.sampled_from([(336, 240), (330, 235), (352, 250)]),
)
def test_boxes_cover_every_changed_block_and_are_few(cells, size):
    mask = np.zeros((15, 21), np.uint8)
    for row, column in cells:
        mask[row, column] = 255
    boxes = boxes_of_blocks(mask, size)
    assert len(boxes) <= MAX_BOXES
    assert bool(boxes) == bool(cells)
    pixels = covered(boxes, size)
    for row, column in cells:
        y1, y2 = row * size[1] // 15, (row + 1) * size[1] // 15
        x1, x2 = column * size[0] // 21, (column + 1) * size[0] // 21
        assert pixels[y1:y2, x1:x2].all()


@given(
    boxes=st.lists(
        st.tuples(st.integers(0, 200), st.integers(0, 200), st.integers(1, 80), st.integers(1, 80)), max_size=8
    ),
    halo=st.integers(0, 100),
    call=st.floats(0, 20000),
)
def test_merged_boxes_cover_as_much_and_cost_no_more(boxes, halo, call):
    separate = [(x, y, x + w, y + h) for x, y, w, h in boxes]
    merged = merge_boxes(separate, halo, call)

    def cost(boxes):
        return sum((x2 - x1 + halo) * (y2 - y1 + halo) + call for x1, y1, x2, y2 in boxes)

    assert cost(merged) <= cost(separate) + 1e-6
    assert (covered(merged, (300, 300)) >= covered(separate, (300, 300))).all()


def test_adjacent_boxes_are_merged_and_distant_ones_are_not():
    adjacent, distant = [(0, 0, 32, 32), (32, 0, 64, 32)], [(0, 0, 32, 32), (600, 400, 632, 432)]
    assert merge_boxes(adjacent, 32, 0) == [(0, 0, 64, 32)]
    assert sorted(merge_boxes(distant, 32, 0)) == sorted(distant)
