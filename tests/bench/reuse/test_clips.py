"""Clips repeat exactly, noise has its stated distribution, and generated clips show what their names say."""

import numpy as np
import pytest

from edge_app.bench.reuse import clips, scene, stress
from edge_app.bench.reuse.clips import Noise
from edge_app.errors import ClipError, ConfigError
from edge_app.frame import Frame

from .scenes import OBJECT, background, crossing, film

GRAY = np.full((120, 160, 3), 128, np.uint8)


def test_gaussian_noise_has_its_deviation_and_no_bias():
    difference = Noise.gaussian(2.0, 1).apply(GRAY, 0).astype(int) - 128
    assert abs(difference.std() - np.sqrt(4 + 1 / 12)) < 0.03  # rounding adds a twelfth
    assert abs(difference.mean()) < 0.03


def test_uniform_noise_has_every_level_equally_often():
    difference = Noise.uniform(2, 1).apply(GRAY, 0).astype(int) - 128
    levels, counts = np.unique(difference, return_counts=True)
    assert levels.tolist() == [-2, -1, 0, 1, 2]
    assert counts.max() / counts.min() < 1.1


def test_noise_repeats_for_a_frame_and_differs_between_frames():
    noise = Noise.gaussian(2.0, 5)
    assert np.array_equal(noise.apply(GRAY, 3), Noise.gaussian(2.0, 5).apply(GRAY, 3))
    assert not np.array_equal(noise.apply(GRAY, 3), noise.apply(GRAY, 4))
    assert not np.array_equal(noise.apply(GRAY, 3), Noise.gaussian(2.0, 6).apply(GRAY, 3))


def test_noise_saturates_and_does_not_modify_the_image():
    black = np.zeros((40, 40, 3), np.uint8)
    noisy = Noise.gaussian(4.0, 0).apply(black, 0)
    assert noisy.max() < 40
    assert not black.any()


def test_a_recorded_clip_can_be_restarted(tmp_path):
    clip = clips.open_clip(str(film(tmp_path, 6)))
    first, again = list(clip.frames()), list(clip.frames())
    assert len(first) == clip.length == 6
    assert all(np.array_equal(a.image, b.image) and a.captured_ns == b.captured_ns for a, b in zip(first, again))
    assert len(list(clip.first(4).frames())) == clip.first(4).length == 4


@pytest.mark.parametrize("path", ["rtsp://camera/stream", "synthetic:", "/dev/video0"])
def test_rejects_a_live_source(path):
    with pytest.raises(ConfigError, match="expected a recorded clip"):
        clips.open_clip(path)


def test_finds_background_and_object_of_a_clip():
    found = scene.extract_scene(crossing())
    assert np.abs(found.background.astype(int) - background()).max() == 0
    assert found.period_ns == 100_000_000
    w, h = found.object.size
    assert abs(w - OBJECT[0]) <= 6
    assert abs(h - OBJECT[1]) <= 6
    assert abs(found.object.y - 40) <= 4
    center = found.object.pixels[h // 2, w // 2].tolist()
    assert center == [10, 20, 10]


def test_an_object_may_cross_every_edge():
    found = scene.extract_scene(crossing())
    for x, y in ((-10, 60), (185, 60), (50, -20), (50, 140), (-500, 0), (5000, 5000)):
        pasted = found.object.pasted(found.background, x, y)
        assert pasted.shape == found.background.shape
    assert np.array_equal(found.object.pasted(found.background, -500, 0), found.background)


def test_rejects_a_clip_without_motion():
    still = clips.Clip("still", lambda: iter([Frame("s", i, i, 0, GRAY) for i in range(8)]), 8)
    with pytest.raises(ClipError, match="still: found no moving object"):
        scene.extract_scene(still)
    with pytest.raises(ClipError, match=r"found 2 frame\(s\)"):
        scene.extract_scene(still.first(2))


def every_clip(frames: int = 24) -> list[clips.Clip]:
    found = scene.extract_scene(crossing())
    return stress.static_scenes(found, "c", frames) + stress.hard_cases(found, crossing(), "c", frames)


@pytest.mark.parametrize("clip", every_clip(), ids=lambda clip: clip.name)
def test_a_generated_clip_repeats_exactly_and_has_its_stated_length(clip):
    first, again = list(clip.frames()), list(clip.frames())
    assert len(first) == clip.length == 24
    assert all(frame.image.shape == (144, 192, 3) and frame.image.dtype == np.uint8 for frame in first)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first, again))


def images_of(name: str, frames: int = 40) -> list[np.ndarray]:
    clip = next(each for each in every_clip(frames) if each.name == f"c:{name}")
    return [frame.image.astype(int) for frame in clip.frames()]


def test_frames_of_the_idle_clip_differ_only_by_noise():
    images = images_of("idle")
    assert abs((images[1] - images[0]).std() - 2 * np.sqrt(2)) < 0.2
    assert np.abs(np.mean(images, axis=0) - background()).mean() < 1


def test_the_object_of_the_sparse_clip_is_always_in_view_and_moves_20_pixels_per_frame():
    centers = []
    for image in images_of("sparse"):
        mask = np.abs(image - background()).max(axis=2) > 40
        centers.append(np.flatnonzero(mask.any(axis=0)).mean())
        assert np.count_nonzero(mask) > 0.8 * OBJECT[0] * OBJECT[1]
    steps = np.abs(np.diff(centers))
    assert np.median(steps) == pytest.approx(20, abs=1.5)


def test_a_pan_moves_by_whole_pixels():
    images = images_of("pan_3")
    moved = np.abs(images[9][:60, 30:90] - images[8][:60, 33:93])
    assert np.median(moved) <= 4  # noise; the steps of the texture are much larger
    assert np.abs(images[9][:60, 30:90] - images[8][:60, 30:90]).mean() > np.mean(moved)
