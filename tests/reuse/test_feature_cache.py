"""Partial computation equals full computation for any boxes, every segment and every model."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_app.model import manifest
from edge_app.reuse.costs import Cost, Costs
from edge_app.reuse.propagation import EXACT, FAR, NEAR, Propagation
from edge_app.reuse.segments import Segment
from tests.reuse import models

NAMES = ("digits", "fastestdet", "nanodet")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Compiled models, each compiled once."""
    made = {}

    def get(name, *arguments):
        if (name, arguments) not in made:
            made[name, arguments] = models.compiled(name, tmp_path_factory.mktemp("models"), *arguments)
        return made[name, arguments]

    return get


@pytest.fixture(scope="module")
def pairs(folders):
    """For a model: two feature caches, one to be updated in part and one to be filled for comparison."""
    with ExitStack() as stack:
        made = {}

        def get(name):
            if name not in made:
                made[name] = [models.features(folders(name), stack) for _ in range(2)]
            return made[name]

        yield get


def by_area(features):
    """Set costs in proportion to the area, so that any box smaller than the whole pays."""
    features.costs = Costs(1.0, {name: Cost(0.0, 1.0) for name in features.costs.segments})


def outputs(features, heads):
    return {name: {key: np.array(value) for key, value in features.outputs_of(name).items()} for name in heads}


def assert_equal(found, expected):
    for head, named in expected.items():
        for name, values in named.items():
            error = np.abs(found[head][name] - values) / np.maximum(1, np.abs(values))
            assert error.max() <= 1e-4, f"{head}/{name}: off by {error.max():.2g}"


BOXES = st.lists(
    st.tuples(st.integers(0, 21), st.integers(0, 21), st.integers(1, 6), st.integers(1, 6)), min_size=1, max_size=4
)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(masks=st.lists(BOXES, min_size=1, max_size=2), seed=st.integers(0, 1000))
def test_an_update_in_boxes_equals_a_full_run(name, masks, seed, pairs):
    (manifest, part), (_, full) = pairs(name)
    by_area(part)
    size = (manifest.input.width, manifest.input.height)
    image = models.picture(seed, size)
    part.fill(image[None])
    outputs(part, manifest.heads)
    for turn, mask in enumerate(masks):
        other = models.picture(seed + 1 + turn, size)
        image, boxes = image.copy(), []
        for x, y, width, height in mask:
            x1, y1 = min(x * 16, size[0] - 16), min(y * 16, size[1] - 16)
            x2, y2 = min(x1 + width * 16, size[0]), min(y1 + height * 16, size[1])
            image[y1:y2, x1:x2] = other[y1:y2, x1:x2]
            boxes.append((x1, y1, x2, y2))
        part.update(image[None], boxes)
        full.fill(image[None])
        assert_equal(outputs(part, manifest.heads), outputs(full, manifest.heads))


def test_maps_may_be_named_by_paths(tmp_path):
    folder = models.as_exported_elsewhere(models.compiled("digits", tmp_path))
    with ExitStack() as stack:
        (manifest, part), (_, full) = (models.features(folder, stack) for _ in range(2))
        by_area(part)
        image = models.picture(1, (manifest.input.width, manifest.input.height))
        part.fill(image[None])
        outputs(part, manifest.heads)
        image = image.copy()
        image[64:96, 160:224] = 255
        part.update(image[None], [(160, 64, 224, 96)])
        full.fill(image[None])
        assert_equal(outputs(part, manifest.heads), outputs(full, manifest.heads))


@pytest.mark.parametrize("name", NAMES)
def test_every_segment_computes_any_box_as_in_the_whole(name, folders):
    with ExitStack() as stack:
        manifest, features = models.features(folders(name), stack)
        size = (manifest.input.width, manifest.input.height)
        features.fill(models.picture(3, size)[None])
        outputs(features, manifest.heads)
        rng = np.random.default_rng(4)
        tried = 0
        for segment in features.segments:
            if not segment.croppable:
                continue
            whole = segment.run_all(features.inputs_of(segment))
            for _ in range(12):
                box = random_box(segment, rng)
                for output, (rows, columns), values in segment.run(features.inputs_of(segment), box):
                    expected = whole[output]
                    if output in segment.rows:
                        high, wide = segment.cells(output, segment.whole)
                        expected = expected.reshape(high.stop, wide.stop, -1)[rows, columns]
                    else:
                        expected = expected[0][:, rows, columns]
                    assert values.shape == expected.shape
                    error = np.abs(values - expected) / np.maximum(1, np.abs(expected))
                    assert error.max() <= 1e-4
                    tried += 1
        assert tried >= 24


def random_box(segment: Segment, rng):
    """A random aligned box."""
    columns, rows = segment.whole[2] // segment.align, segment.whole[3] // segment.align
    x1, y1 = rng.integers(0, columns), rng.integers(0, rows)
    x2, y2 = rng.integers(x1 + 1, columns + 1), rng.integers(y1 + 1, rows + 1)
    return tuple(int(value) * segment.align for value in (x1, y1, x2, y2))


def test_without_the_halo_a_box_is_wrong(folders):
    """Proves that the other tests would detect a halo that is too small."""
    with ExitStack() as stack:
        manifest, features = models.features(folders("digits"), stack)
        size = (manifest.input.width, manifest.input.height)
        features.fill(models.picture(3, size)[None])
        segment = features.segments[1]
        whole = segment.run_all(features.inputs_of(segment))
        segment.limit(0.0)
        for output, (rows, columns), values in segment.run(features.inputs_of(segment), (64, 64, 128, 128)):
            assert np.abs(values - whole[output][0][:, rows, columns]).max() > 1e-2


@pytest.mark.parametrize("name", ["digits", *(pytest.param(n, marks=pytest.mark.system) for n in NAMES[1:])])
def test_int8_is_bit_exact(name, folders, tmp_path):
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    import cv2

    for i in range(4):
        cv2.imwrite(str(pictures / f"{i}.png"), models.picture(i, (352, 352)))
    folder = models.as_int8(models.compiled(name, tmp_path, "--calibrate", str(pictures)))
    with ExitStack() as stack:
        manifest, part = models.features(folder, stack)
        _, full = models.features(folder, stack)
        by_area(part)
        size = (manifest.input.width, manifest.input.height)
        image = models.picture(1, size)
        part.fill(image[None])
        outputs(part, manifest.heads)
        rng = np.random.default_rng(2)
        for turn in range(8):
            x, y = int(rng.integers(0, size[0] // 16 - 2)) * 16, int(rng.integers(0, size[1] // 16 - 2)) * 16
            image = image.copy()
            image[y : y + 32, x : x + 32] = models.picture(turn, size)[y : y + 32, x : x + 32]
            part.update(image[None], [(x, y, x + 32, y + 32)])
            full.fill(image[None])
            found, expected = outputs(part, manifest.heads), outputs(full, manifest.heads)
            for head, named in expected.items():
                for output, values in named.items():
                    assert np.array_equal(found[head][output], values), f"{head}/{output}"


def test_limited_propagation_costs_less_and_is_a_good_approximation(pairs):
    (manifest, part), (_, full) = pairs("digits")
    by_area(part)
    size = (manifest.input.width, manifest.input.height)
    image, other = models.picture(1, size), models.picture(2, size)
    changed = image.copy()
    changed[96:160, 96:160] = other[96:160, 96:160]
    spent, errors = [], []
    full.fill(changed[None])
    expected = outputs(full, manifest.heads)["digits"]["scores"]
    for propagation in (EXACT, Propagation(0.4, 0.0)):
        part.set_propagation(propagation)
        part.fill(image[None])
        before = outputs(part, manifest.heads)["digits"]["scores"]
        part.update(changed[None], [(96, 96, 160, 160)])
        errors.append(np.abs(outputs(part, manifest.heads)["digits"]["scores"] - expected).max())
        spent.append(part.spent_ms)
    part.set_propagation(EXACT)
    assert spent[1] < spent[0]
    assert errors[0] <= 1e-4
    assert errors[1] < 0.5 * np.abs(before - expected).max()


def test_a_head_that_did_not_run_catches_up_with_all_changes(pairs):
    (manifest, part), (_, full) = pairs("digits")
    by_area(part)
    size = (manifest.input.width, manifest.input.height)
    image, other = models.picture(1, size), models.picture(2, size)
    part.fill(image[None])
    outputs(part, manifest.heads)
    for x in (0, 64, 128, 192, 256):
        image = image.copy()
        image[:48, x : x + 48] = other[:48, x : x + 48]
        part.update(image[None], [(x, 0, x + 48, 48)])
        part.outputs_of("digits")
    assert part.pending("panel")
    assert not part.pending("digits")
    full.fill(image[None])
    assert_equal(outputs(part, manifest.heads), outputs(full, manifest.heads))


def test_compile_cuts_the_head_of_a_pyramid_for_each_target(folders):
    loaded = manifest.load(folders("nanodet"))
    (head,) = loaded.heads.values()
    assert len(head.segments) >= 3
    assert {cells.stride for segment in head.segments for cells in segment.cells.values()} == {8, 16, 32}
    assert {name for segment in head.segments for name in segment.graph.values()} <= set(loaded.files())
    with ExitStack() as stack:
        _, features = models.features(folders("nanodet"), stack)
        assert [s.name for s in features.segments if s.head] == [
            f"head {head.name}/{i}" for i in range(len(head.segments))
        ]


def test_a_head_that_pools_over_the_image_is_not_croppable(pairs):
    (_, part), _ = pairs("digits")
    croppable = {segment.name: segment.croppable for segment in part.segments}
    assert croppable["head digits"]
    assert not croppable["head scene"]


def test_the_predicted_cost_follows_the_cost_model(pairs):
    (manifest, part), _ = pairs("digits")
    by_area(part)
    size = (manifest.input.width, manifest.input.height)
    part.fill(models.picture(1, size)[None])
    small, large = part.predict_ms([(0, 0, 16, 16)]), part.predict_ms([(0, 0, 160, 160)])
    whole = part.predict_ms([(0, 0, *size)])
    assert 0 < small < large <= whole <= part.costs.all_segments
    part.costs = replace(part.costs, segments={name: Cost(1.0, 0.0) for name in part.costs.segments})
    assert part.predict_ms([(0, 0, 16, 16), (304, 304, 320, 320)]) == pytest.approx(len(part.segments))


def test_a_head_with_unchanged_outputs_need_not_be_decoded(pairs):
    (manifest, part), _ = pairs("digits")
    by_area(part)
    part.set_propagation(Propagation(0.4, 1.0))
    size = (manifest.input.width, manifest.input.height)
    image = models.picture(1, size)
    part.fill(image[None])
    outputs(part, manifest.heads)
    part.update(image[None], [(96, 96, 128, 128)])  # reported as changed, but identical
    assert not part.pending("digits")
    other = image.copy()
    other[0:16, 0:16] = 255 - other[0:16, 0:16]
    part.update(other[None], [(0, 0, 16, 16)])
    assert part.changed_outputs_of("digits") is not None
    part.set_propagation(Propagation(0.4, 0.0))
    part.update(image[None], [(0, 0, 16, 16)])
    part.set_propagation(Propagation(0.4, 1e6))  # any output is within the tolerance
    assert part.pending("digits")
    assert part.changed_outputs_of("digits") is None
    part.set_propagation(EXACT)


def test_without_tuning_propagation_is_far_on_cheap_frames_and_near_on_expensive_ones(folders):
    with ExitStack() as stack:
        _, features = models.features(folders("digits"), stack, NEAR)
        found = []
        for share in (0.6, 0.4, 0.3, 0.4, 0.6):
            features.adapt_propagation(share)
            found.append(features.propagation)
        assert found == [NEAR, NEAR, FAR, FAR, NEAR]
        features.set_propagation(EXACT)
        features.adapt_propagation(0.1)
        assert features.exact
