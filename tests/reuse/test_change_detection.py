"""What counts as a change: objects, slow drift and faint intruders do; noise, flicker and ignored places do not."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.reuse.change_detection import BLOCK, ChangeDetector, grid
from tests.reuse.models import picture

SIZE = (320, 240)


def noisy(image, rng, sigma=2.0):
    return np.clip(image + np.rint(rng.normal(0, sigma, image.shape)), 0, 255).astype(np.uint8)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def scene():
    return (picture(1, SIZE) // 2 + 60).astype(np.uint8)


def anchored(scene, rng, sigma=2.0, **options):
    """A detector that has seen a still scene for a while."""
    detector = ChangeDetector(SIZE, options.get("tolerance"), options.get("still"))
    assert detector.look(noisy(scene, rng, sigma)).kind == "first"
    detector.anchor(None)
    for _ in range(40):
        detector.look(noisy(scene, rng, sigma))
    return detector


@pytest.mark.parametrize("sigma", [0, 2, 6, 12])
def test_noise_of_any_camera_is_no_change(scene, rng, sigma):
    detector = anchored(scene, rng, sigma)
    assert {detector.look(noisy(scene, rng, sigma)).kind for _ in range(100)} == {"none"}


def test_the_tolerance_is_learned_from_the_noise(scene, rng):
    quiet, loud = anchored(scene, rng, 1.0), anchored(scene, rng, 12.0)
    assert quiet.tolerance < loud.tolerance
    assert quiet.noise < loud.noise


@pytest.mark.parametrize("side", [8, 12, 16])
def test_a_small_object_is_seen_wherever_it_is(scene, rng, side):
    detector = anchored(scene, rng)
    for x, y in rng.integers(0, (SIZE[0] - side, SIZE[1] - side), (40, 2)):
        image = scene.copy()
        image[y : y + side, x : x + side] = 255 - image[y : y + side, x : x + side] // 4
        change = detector.look(noisy(image, rng))
        assert change.kind == "blocks"
        rows, columns = np.nonzero(change.blocks)
        middle = (y + side / 2) // BLOCK, (x + side / 2) // BLOCK
        assert np.hypot(rows - middle[0], columns - middle[1]).min() <= 1.5


def test_a_slow_change_adds_up_until_it_is_seen(scene, rng):
    detector = anchored(scene, rng)
    kinds = []
    for step in range(60):
        image = scene.astype(np.float32)
        image[80:160, 80:160] += step * 0.5  # less than noise from frame to frame
        kinds.append(detector.look(noisy(image, rng)).kind)
    assert kinds[0] == "none"
    assert kinds[-1] == "blocks"


def test_the_reference_moves_only_where_it_is_anchored(scene, rng):
    detector = anchored(scene, rng)
    image = scene.copy()
    image[32:64, 32:64] = 255
    image[160:192, 256:288] = 255
    assert detector.look(image).kind == "blocks"
    detector.anchor([(32, 32, 64, 64)])
    change = detector.look(image)
    assert change.kind == "blocks"
    assert not change.blocks[2:4, 2:4].any()
    assert change.blocks[10:12, 16:18].all()


def test_a_light_that_goes_on_is_not_learned_as_noise(scene, rng):
    detector = anchored(scene, rng)
    tolerance = detector.tolerance
    for i in range(64):
        detector.look(noisy(scene * (1 - 0.5 * abs(np.sin(i / 8))), rng))
    assert detector.tolerance == pytest.approx(tolerance, rel=0.3)


@pytest.mark.parametrize("gain", [0.97, 1.03])
def test_flicker_is_looked_through(scene, rng, gain):
    detector = anchored(scene, rng)
    assert detector.look(noisy(scene * gain, rng)).kind == "none"
    assert detector.gain == pytest.approx(gain, abs=0.01)


def test_a_larger_change_of_gain_is_looked_through_for_two_frames(scene, rng):
    detector = anchored(scene, rng)
    kinds = [detector.look(noisy(scene * 0.93, rng)).kind for _ in range(3)]
    assert kinds == ["none", "none", "exposure"]


@pytest.mark.parametrize("gain", [0.8, 1.2])
def test_another_exposure_is_told_as_such(scene, rng, gain):
    assert anchored(scene, rng).look(noisy(scene * gain, rng)).kind == "exposure"


def test_an_object_in_flickering_light_is_seen(scene, rng):
    detector = anchored(scene, rng)
    image = scene * 0.97
    image[96:128, 96:128] = 240
    change = detector.look(noisy(image, rng))
    assert change.kind == "blocks"
    assert change.blocks[6:8, 6:8].all()
    assert np.count_nonzero(change.blocks) <= 16


def test_another_picture_is_a_cut(scene, rng):
    assert anchored(scene, rng).look(noisy(picture(9, SIZE), rng)).kind in ("cut", "exposure")


def test_what_is_ignored_does_not_count(scene, rng):
    columns, rows = grid(SIZE)
    counted = np.full((rows, columns), 255, np.uint8)
    counted[:, : columns // 2] = 0
    detector = anchored(scene, rng, still=counted)
    image = scene.copy()
    image[32:96, 32:96] = 255
    assert detector.look(image).kind == "none"
    image[32:96, 240:288] = 255
    assert detector.look(image).kind == "blocks"


@pytest.mark.parametrize("size", [(320, 240), (330, 250), (352, 352)])
def test_without_tolerance_every_pixel_counts(size, rng):
    image = picture(1, size)
    detector = ChangeDetector(size, 0)
    detector.look(image)
    detector.anchor(None)
    assert detector.look(image.copy()).kind == "none"
    for x, y in [(0, 0), (size[0] - 1, size[1] - 1), *rng.integers(0, size, (20, 2))]:
        other = image.copy()
        other[y, x, rng.integers(0, 3)] ^= 1
        change = detector.look(other)
        assert change.kind == "blocks"
        assert np.count_nonzero(change.blocks) == 1
        rows, columns = change.blocks.shape
        row = np.searchsorted(np.arange(rows) * size[1] // rows, y, "right") - 1
        column = np.searchsorted(np.arange(columns) * size[0] // columns, x, "right") - 1
        assert change.blocks[row, column]
