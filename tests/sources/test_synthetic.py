"""synthetic: deterministic images, and the options that imitate a faulty camera."""

import numpy as np
import pytest

from edge_app.clock import ClipClock
from edge_app.errors import EndOfClip, SourceError
from edge_app.sources.synthetic import Source


def frames(n, **options):
    source = Source(ClipClock(), pace="fast", **{"width": 96, "height": 64, **options})
    return [source.read(1.0) for _ in range(n)]


@pytest.mark.parametrize("format_", ["bgr", "nv12"])
def test_the_same_seed_gives_the_same_bytes(format_):
    for a, b in zip(frames(5, seed=3, format=format_), frames(5, seed=3, format=format_)):
        np.testing.assert_array_equal(a.pixels, b.pixels)
        assert (a.sequence, a.captured_ns, a.utc_ns) == (b.sequence, b.captured_ns, b.utc_ns)


def test_another_seed_gives_a_different_image():
    assert (frames(1, seed=1)[0].pixels != frames(1, seed=2)[0].pixels).any()


def test_frames_are_numbered_and_stamped_by_the_rate():
    assert [(f.sequence, f.captured_ns, f.utc_ns) for f in frames(3, fps=4)] == [
        (0, 0, 0),
        (1, 250_000_000, 250_000_000),
        (2, 500_000_000, 500_000_000),
    ]


def test_nv12_shows_the_same_scene_as_bgr():
    for in_bgr, in_nv12 in zip(frames(4, noise=0.0), frames(4, noise=0.0, format="nv12")):
        difference = np.abs(in_bgr.image.astype(int) - in_nv12.image.astype(int))
        assert difference.mean() < 3  # chroma is stored at half the size


def test_noise_has_the_configured_sigma():
    clean, noisy = frames(1, noise=0.0)[0].pixels, frames(1, noise=4.0)[0].pixels
    grain = noisy.astype(int) - clean
    assert 3.7 < grain.std() < 4.3
    assert abs(grain.mean()) < 0.2


def test_the_square_moves_and_the_background_does_not():
    a, b = (f.pixels for f in frames(2, noise=0.0))
    changed = (a != b).any(axis=2)
    assert 0 < changed.mean() < 0.2


def test_ends_after_the_configured_number_of_frames():
    source = Source(ClipClock(), pace="fast", frames=2)
    assert source.read(1.0).sequence == 0
    assert source.read(1.0).sequence == 1
    for _ in range(2):
        with pytest.raises(EndOfClip):
            source.read(1.0)


def test_realtime_returns_none_while_a_frame_is_not_due():
    source = Source(ClipClock(), fps=0.001)
    assert source.read(0.0).sequence == 0
    assert source.read(0.01) is None


def test_freezes_and_fails_at_the_configured_frames():
    source = Source(ClipClock(), pace="fast", freeze_at=1, fail_at=3)
    first, second, third = (source.read(1.0).pixels for _ in range(3))
    assert (first != second).any()
    np.testing.assert_array_equal(second, third)
    with pytest.raises(SourceError, match="frame 3"):
        source.read(1.0)


def test_only_a_live_source_has_limits():
    assert Source(ClipClock()).live is None
    assert Source(ClipClock(), live=True, frozen_after_s=7.0).live.frozen_after_s == 7.0
