"""The rolling refresh covers the whole image within the allowed age."""

from __future__ import annotations

import pytest

from edge_app.reuse.refresh import RollingRefresh
from tests.reuse.test_dirty_rects import covered


@pytest.mark.parametrize(("height", "align"), [(576, 32), (320, 32), (250, 32), (96, 64)])
def test_a_round_covers_the_image_once_within_the_allowed_age(height, align):
    rolling = RollingRefresh((320, height), 10_000, align)
    tiles, now, since = [], 0, 0
    while not rolling.complete:
        now += 100
        tile = rolling.next_tile(now, since)
        if tile is not None:
            tiles.append(tile)
    assert covered(tiles, (320, height)).all()
    assert 5_000 < rolling.started_ns <= now <= 10_000
    assert len(tiles) == len(set(tiles))
