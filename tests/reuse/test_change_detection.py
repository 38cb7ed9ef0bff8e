"""Change detection: finds objects and slow changes; ignores noise, flicker and ignored regions."""

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


def detector_of(scene, rng, sigma=2.0, **options):
    """A detector with the scene as its reference, after 40 frames of it."""
    detector = ChangeDetector(SIZE, options.get("tolerance"), options.get("watched"))
    assert detector.detect(noisy(scene, rng, sigma)).kind == "first"
    detector.update_reference(None)
    for _ in range(40):
        detector.detect(noisy(scene, rng, sigma))
    return detector


@pytest.mark.parametrize("sigma", [0, 2, 6, 12])
def test_noise_is_not_a_change(scene, rng, sigma):
    detector = detector_of(scene, rng, sigma)
    assert {detector.detect(noisy(scene, rng, sigma)).kind for _ in range(100)} == {"none"}


def test_the_tolerance_is_learned_from_the_noise(scene, rng):
    quiet, loud = detector_of(scene, rng, 1.0), detector_of(scene, rng, 12.0)
    assert quiet.tolerance < loud.tolerance
    assert quiet.noise < loud.noise


@pytest.mark.parametrize("side", [8, 12, 16])
def test_detects_a_small_object_at_any_position(scene, rng, side):
    detector = detector_of(scene, rng)
    for x, y in rng.integers(0, (SIZE[0] - side, SIZE[1] - side), (40, 2)):
        image = scene.copy()
        image[y : y + side, x : x + side] = 255 - image[y : y + side, x : x + side] // 4
        change = detector.detect(noisy(image, rng))
        assert change.kind == "blocks"
        rows, columns = np.nonzero(change.blocks)
        center = (y + side / 2) // BLOCK, (x + side / 2) // BLOCK
        assert np.hypot(rows - center[0], columns - center[1]).min() <= 1.5


def test_a_slow_change_adds_up_until_it_is_detected(scene, rng):
    detector = detector_of(scene, rng)
    kinds = []
    for step in range(60):
        image = scene.astype(np.float32)
        image[80:160, 80:160] += step * 0.5  # less than noise from frame to frame
        kinds.append(detector.detect(noisy(image, rng)).kind)
    assert kinds[0] == "none"
    assert kinds[-1] == "blocks"


def test_the_reference_is_updated_only_in_the_boxes(scene, rng):
    detector = detector_of(scene, rng)
    image = scene.copy()
    image[32:64, 32:64] = 255
    image[160:192, 256:288] = 255
    assert detector.detect(image).kind == "blocks"
    detector.update_reference([(32, 32, 64, 64)])
    change = detector.detect(image)
    assert change.kind == "blocks"
    assert not change.blocks[2:4, 2:4].any()
    assert change.blocks[10:12, 16:18].all()


def test_changing_light_is_not_learned_as_noise(scene, rng):
    detector = detector_of(scene, rng)
    tolerance = detector.tolerance
    for i in range(64):
        detector.detect(noisy(scene * (1 - 0.5 * abs(np.sin(i / 8))), rng))
    assert detector.tolerance == pytest.approx(tolerance, rel=0.3)


@pytest.mark.parametrize("gain", [0.97, 1.03])
def test_flicker_is_compensated(scene, rng, gain):
    detector = detector_of(scene, rng)
    assert detector.detect(noisy(scene * gain, rng)).kind == "none"
    assert detector.gain == pytest.approx(gain, abs=0.01)


def test_a_larger_gain_is_compensated_for_two_frames(scene, rng):
    detector = detector_of(scene, rng)
    kinds = [detector.detect(noisy(scene * 0.93, rng)).kind for _ in range(3)]
    assert kinds == ["none", "none", "exposure"]


@pytest.mark.parametrize("gain", [0.8, 1.2])
def test_detects_a_change_of_exposure(scene, rng, gain):
    assert detector_of(scene, rng).detect(noisy(scene * gain, rng)).kind == "exposure"


def test_detects_an_object_in_flickering_light(scene, rng):
    detector = detector_of(scene, rng)
    image = scene * 0.97
    image[96:128, 96:128] = 240
    change = detector.detect(noisy(image, rng))
    assert change.kind == "blocks"
    assert change.blocks[6:8, 6:8].all()
    assert np.count_nonzero(change.blocks) <= 16


def test_a_different_scene_is_a_cut(scene, rng):
    assert detector_of(scene, rng).detect(noisy(picture(9, SIZE), rng)).kind in ("cut", "exposure")


def test_changes_in_ignored_blocks_do_not_count(scene, rng):
    columns, rows = grid(SIZE)
    watched = np.full((rows, columns), 255, np.uint8)
    watched[:, : columns // 2] = 0
    detector = detector_of(scene, rng, watched=watched)
    image = scene.copy()
    image[32:96, 32:96] = 255
    assert detector.detect(image).kind == "none"
    image[32:96, 240:288] = 255
    assert detector.detect(image).kind == "blocks"


@pytest.mark.parametrize("size", [(320, 240), (330, 250), (352, 352)])
def test_with_tolerance_0_every_pixel_counts(size, rng):
    image = picture(1, size)
    detector = ChangeDetector(size, 0)
    detector.detect(image)
    detector.update_reference(None)
    assert detector.detect(image.copy()).kind == "none"
    for x, y in [(0, 0), (size[0] - 1, size[1] - 1), *rng.integers(0, size, (20, 2))]:
        other = image.copy()
        other[y, x, rng.integers(0, 3)] ^= 1
        change = detector.detect(other)
        assert change.kind == "blocks"
        assert np.count_nonzero(change.blocks) == 1
        rows, columns = change.blocks.shape
        row = np.searchsorted(np.arange(rows) * size[1] // rows, y, "right") - 1
        column = np.searchsorted(np.arange(columns) * size[0] // columns, x, "right") - 1
        assert change.blocks[row, column]
