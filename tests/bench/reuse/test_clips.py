"""Clips are streams that repeat exactly; noise is what it says."""

import numpy as np
import pytest

from edge_app.bench.reuse import clips, scene, stress
from edge_app.bench.reuse.clips import Noise
from edge_app.errors import ClipError, ConfigError
from edge_app.frame import Frame

from .scenes import OBJECT, background, crossing, film

GREY = np.full((120, 160, 3), 128, np.uint8)


def test_gaussian_noise_has_its_deviation_and_no_bias():
    difference = Noise.gaussian(2.0, 1).apply(GREY, 0).astype(int) - 128
    assert abs(difference.std() - np.sqrt(4 + 1 / 12)) < 0.03  # rounding adds a twelfth
    assert abs(difference.mean()) < 0.03


def test_uniform_noise_has_every_level_alike():
    difference = Noise.uniform(2, 1).apply(GREY, 0).astype(int) - 128
    levels, counts = np.unique(difference, return_counts=True)
    assert levels.tolist() == [-2, -1, 0, 1, 2]
    assert counts.max() / counts.min() < 1.1


def test_noise_is_the_same_for_a_frame_and_another_for_the_next():
    noise = Noise.gaussian(2.0, 5)
    assert np.array_equal(noise.apply(GREY, 3), Noise.gaussian(2.0, 5).apply(GREY, 3))
    assert not np.array_equal(noise.apply(GREY, 3), noise.apply(GREY, 4))
    assert not np.array_equal(noise.apply(GREY, 3), Noise.gaussian(2.0, 6).apply(GREY, 3))


def test_noise_saturates_and_leaves_the_picture_alone():
    black = np.zeros((40, 40, 3), np.uint8)
    noisy = Noise.gaussian(4.0, 0).apply(black, 0)
    assert noisy.max() < 40
    assert not black.any()


def test_a_recorded_clip_can_be_looked_at_again(tmp_path):
    clip = clips.open_clip(str(film(tmp_path, 6)))
    first, again = list(clip.frames()), list(clip.frames())
    assert len(first) == clip.length == 6
    assert all(np.array_equal(a.image, b.image) and a.captured_ns == b.captured_ns for a, b in zip(first, again))
    assert len(list(clip.first(4).frames())) == clip.first(4).length == 4


@pytest.mark.parametrize("path", ["rtsp://camera/stream", "synthetic:", "/dev/video0"])
def test_a_live_source_is_no_clip(path):
    with pytest.raises(ConfigError, match="expected a open_clip clip"):
        clips.open_clip(path)


def test_the_scene_is_found_in_a_clip():
    found = scene.find(crossing())
    assert np.abs(found.background.astype(int) - background()).max() == 0
    assert found.period_ns == 100_000_000
    w, h = found.object.size
    assert abs(w - OBJECT[0]) <= 6
    assert abs(h - OBJECT[1]) <= 6
    assert abs(found.object.y - 40) <= 4
    centre = found.object.pixels[h // 2, w // 2].tolist()
    assert centre == [10, 20, 10]


def test_an_object_can_hang_over_every_edge():
    found = scene.find(crossing())
    for x, y in ((-10, 60), (185, 60), (50, -20), (50, 140), (-500, 0), (5000, 5000)):
        pasted = found.object.pasted(found.background, x, y)
        assert pasted.shape == found.background.shape
    assert np.array_equal(found.object.pasted(found.background, -500, 0), found.background)


def test_nothing_moves_is_said_in_one_line():
    still = clips.Clip("still", lambda: iter([Frame("s", i, i, 0, GREY) for i in range(8)]), 8)
    with pytest.raises(ClipError, match="still: nothing moves in it"):
        scene.find(still)
    with pytest.raises(ClipError, match=r"found 2 frame\(s\)"):
        scene.find(still.first(2))


def every_clip(frames: int = 24) -> list[clips.Clip]:
    found = scene.find(crossing())
    return stress.still_scenes(found, "c", frames) + stress.stress(found, crossing(), "c", frames)


@pytest.mark.parametrize("clip", every_clip(), ids=lambda clip: clip.name)
def test_a_made_clip_is_exact_and_lasts_as_long_as_it_says(clip):
    first, again = list(clip.frames()), list(clip.frames())
    assert len(first) == clip.length == 24
    assert all(frame.image.shape == (144, 192, 3) and frame.image.dtype == np.uint8 for frame in first)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(first, again))


def quiet(name: str, frames: int = 40) -> list[np.ndarray]:
    clip = next(each for each in every_clip(frames) if each.name == f"c:{name}")
    return [frame.image.astype(int) for frame in clip.frames()]


def test_the_idle_clip_differs_from_frame_to_frame_by_noise_alone():
    images = quiet("idle")
    assert abs((images[1] - images[0]).std() - 2 * np.sqrt(2)) < 0.2
    assert np.abs(np.mean(images, axis=0) - background()).mean() < 1


def test_the_object_of_the_sparse_clip_is_in_view_in_every_frame_and_moves_20_pixels():
    centres = []
    for image in quiet("sparse"):
        mask = np.abs(image - background()).max(axis=2) > 40
        centres.append(np.flatnonzero(mask.any(axis=0)).mean())
        assert np.count_nonzero(mask) > 0.8 * OBJECT[0] * OBJECT[1]
    steps = np.abs(np.diff(centres))
    assert np.median(steps) == pytest.approx(20, abs=1.5)


def test_a_pan_moves_by_whole_pixels():
    images = quiet("pan_3")
    moved = np.abs(images[9][:60, 30:90] - images[8][:60, 33:93])
    assert np.median(moved) <= 4  # of noise; the texture's own steps are far larger
    assert np.abs(images[9][:60, 30:90] - images[8][:60, 30:90]).mean() > np.mean(moved)
