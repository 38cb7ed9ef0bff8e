"""Fixed shapes: boxes equal the whole for every segment, at borders and corners; and unsuitable shapes are rejected."""

from __future__ import annotations

from contextlib import ExitStack

import cv2
import numpy as np
import pytest
import yaml

from edge_app import config
from edge_app.cli import check, model_check
from edge_app.cli.findings import as_table
from edge_app.config import HeadCommon, HeadConfig
from edge_app.config.reuse import ReuseConfig
from edge_app.errors import ModelError
from edge_app.frame import Frame
from edge_app.inference.stage import Inference
from edge_app.model import manifest
from edge_app.reuse.costs import Cost, Costs
from edge_app.reuse.loader import open_features
from edge_app.reuse.profile import ReuseProfile
from edge_app.reuse.propagation import NEAR
from tests import plugins
from tests.reuse import models, shaped

SIZES = ((64, 64), (128, 96), (192, 192), (320, 64))
PRECISIONS = {"onnx": 1e-4, "int8": 0.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    place = tmp_path_factory.mktemp("shaped")
    pictures = place / "pictures"
    pictures.mkdir()
    for i in range(4):
        cv2.imwrite(str(pictures / f"{i}.png"), models.picture(i, (320, 320)))
    return models.compiled("digits", place, "--calibrate", str(pictures))


@pytest.fixture(scope="module", params=PRECISIONS)
def loaded(request, folder):
    """The digits model in fixed shapes, and the tolerance of its results."""
    return shaped.in_shapes(folder, SIZES, request.param), PRECISIONS[request.param]


def by_area(features):
    features.costs = Costs(1.0, {name: Cost(0.0, 1.0) for name in features.costs.segments})


def assert_equal(found, expected, tolerance):
    error = np.abs(found - expected) / np.maximum(1, np.abs(expected))
    assert error.max(initial=0) <= tolerance


def test_random_dirty_boxes_equal_full_inference(loaded):
    assert_equals_full_inference(*loaded, turns=10)


def assert_equals_full_inference(made, tolerance, turns):
    size = (made.input.width, made.input.height)
    with ExitStack() as stack:
        part, full = shaped.features(made, stack), shaped.features(made, stack)
        by_area(part)
        rng = np.random.default_rng(5)
        image = models.picture(1, size)
        part.fill(image[None])
        shaped.outputs(part, made.heads)
        for turn in range(turns):
            image, other, boxes = image.copy(), models.picture(10 + turn, size), []
            for _ in range(rng.integers(1, 4)):
                x1, y1 = (int(rng.integers(0, side // 16)) * 16 for side in size)
                x2, y2 = (min(side, n + 16 * int(rng.integers(1, 4))) for n, side in zip((x1, y1), size))
                image[y1:y2, x1:x2] = other[y1:y2, x1:x2]
                boxes.append((x1, y1, x2, y2))
            part.update(image[None], boxes)
            full.fill(image[None])
            found, expected = shaped.outputs(part, made.heads), shaped.outputs(full, made.heads)
            for head, named in expected.items():
                for name, values in named.items():
                    assert_equal(found[head][name], values, tolerance)


def test_a_head_with_row_outputs_equals_full_inference(tmp_path):
    made = shaped.in_shapes(models.compiled("nanodet", tmp_path), ((64, 64), (128, 96), (192, 128)))
    assert_equals_full_inference(made, 1e-4, turns=4)


def test_every_segment_computes_boxes_in_every_shape_as_in_the_whole(loaded):
    made, tolerance = loaded
    with ExitStack() as stack:
        features = shaped.features(made, stack)
        features.fill(models.picture(3, (320, 320))[None])
        shaped.outputs(features, made.heads)
        used = set()
        for segment in features.segments:
            if not segment.croppable:
                continue
            whole = segment.run_all(features.inputs_of(segment))
            whole = {name: np.array(value) for name, value in whole.items()}
            for box in various_boxes(segment):
                used.add((segment.name, side(segment.needed(box))))
                for output, (rows, columns), values in segment.run(features.inputs_of(segment), box):
                    assert_equal(values, whole[output][0][:, rows, columns], tolerance)
        for size in SIZES[:3]:
            assert ("backbone0", size) in used
        assert ("backbone1", (192, 192)) in used
        assert ("head digits", (192, 192)) in used


def various_boxes(segment):
    """Boxes in corners, at borders, in the center, and random ones."""
    step, end = segment.align, segment.whole[2]
    yield from ((x, y, x + step, y + step) for x in (0, end // 2, end - step) for y in (0, end // 2, end - step))
    yield end // 2, end // 2, end // 2 + 64, end // 2 + step
    rng = np.random.default_rng(4)
    for _ in range(12):
        (x1, x2), (y1, y2) = (sorted(rng.choice(end // step + 1, 2, replace=False) * step) for _ in range(2))
        yield int(x1), int(y1), int(x2), int(y2)


def side(box):
    return box[2] - box[0], box[3] - box[1]


@pytest.fixture(scope="module")
def segment(folder):
    """The first segment, which has a halo of 11 pixels."""
    with ExitStack() as stack:
        yield shaped.features(shaped.in_shapes(folder, SIZES), stack).segments[0]


@pytest.mark.parametrize(("box", "taken"), [
    ((160, 160, 176, 176), (144, 144, 208, 208)),  # in the center: the crop begins with the halo
    ((0, 0, 16, 16), (0, 0, 64, 64)),  # flush with a corner
    ((304, 304, 320, 320), (256, 256, 320, 320)),
    ((304, 160, 320, 176), (256, 144, 320, 208)),  # flush with the right border only
    ((160, 160, 224, 176), (144, 144, 272, 240)),  # too wide for the smallest
    ((16, 160, 288, 176), (0, 144, 320, 208)),  # flush with both borders
    ((160, 16, 176, 288), (0, 0, 320, 320)),  # higher than any size: the whole
])  # fmt: skip
def test_a_box_is_computed_in_the_smallest_size_within_the_image(segment, box, taken):
    assert segment.needed(box) == taken
    assert segment.part(segment.needed(box)) == pytest.approx(side(taken)[0] * side(taken)[1] / 320**2)


def test_the_crop_holds_every_box_with_its_halo(segment):
    for box in various_boxes(segment):
        x1, y1, x2, y2 = segment.needed(box)
        before, after = segment.halo
        assert all(n % segment.align == 0 for n in (x1, y1))
        assert x1 <= max(0, box[0] - before)
        assert y1 <= max(0, box[1] - before)
        assert x2 >= min(320, box[2] + after)
        assert y2 >= min(320, box[3] + after)


def test_boxes_are_joined_if_one_crop_costs_no_more_than_two(segment):
    cost = Cost(0.0, 1.0)
    near, far = (32, 32, 48, 48), (272, 272, 288, 288)
    assert segment.joined([near, (48, 32, 64, 48)], cost) == [(32, 32, 64, 48)]
    assert segment.joined([near, far], cost) == [near, far]
    assert segment.joined([near, (64, 48, 96, 64), far], Cost(9.0, 1.0)) == [(32, 32, 288, 288)]


def test_a_box_costs_as_much_as_its_crop(folder):
    with ExitStack() as stack:
        features = shaped.features(shaped.in_shapes(folder, SIZES), stack)
        only = features.segments[0].name
        features.costs = Costs(1.0, {name: Cost(0.0, float(name == only)) for name in features.costs.segments})
        box = (160, 160, 176, 176)  # reaches outputs 48 pixels wide, which need inputs 80 wide
        assert features.predict_ms([box]) == pytest.approx(128 * 96 / 320**2)
        assert features.predict_ms([(160, 16, 176, 288)]) == pytest.approx(1.0)


def test_limited_propagation_uses_smaller_sizes(folder):
    with ExitStack() as stack:
        features = shaped.features(shaped.in_shapes(folder, SIZES), stack)
        deepest = features.segments[2]
        assert deepest.needed((160, 160, 176, 176)) == deepest.whole
        features.set_propagation(NEAR)
        assert side(deepest.needed((160, 160, 176, 176))) == (192, 192)


def test_a_target_without_shapes_has_no_features(folder):
    made = shaped.in_shapes(folder, SIZES)
    backend = shaped.Backend()
    backend.target = "rk3588"
    assert open_features(made, backend, made.heads, ReuseConfig(tolerance=0), ReuseProfile()) is None
    made = shaped.in_shapes(folder, ())
    assert open_features(made, shaped.Backend(), made.heads, ReuseConfig(tolerance=0), ReuseProfile()) is None


def test_partial_frames_have_the_same_results_as_without_reuse(folder):
    made = shaped.in_shapes(folder, SIZES, "int8")
    heads = {name: HeadConfig(HeadCommon(), spec.options) for name, spec in made.heads.items()}
    with ExitStack() as stack:
        plain = Inference(made, shaped.Backend(), heads)
        stack.callback(plain.close)
        reusing = Inference(made, shaped.Backend(), heads, reuse=ReuseConfig(mode="auto", tolerance=0))
        stack.callback(reusing.close)
        names = {"backbone0", "backbone1", "backbone2", *(f"head {name}" for name in heads)}
        measured = reusing.measure()
        assert set(measured.segments) == names
        assert measured.dense > 0
        reusing.use_costs(Costs(10.0, dict.fromkeys(names, Cost(0.0, 1.0))))
        image = models.picture(1, (320, 320))
        for turn in range(8):
            image = image.copy()
            image[32:64, 32 + 8 * turn : 64 + 8 * turn] = models.picture(turn, (32, 32))
            found, expected = (
                {
                    name: repr(each.result)
                    for name, each in run.infer(Frame("t", turn, (turn + 1) * 10**8, 0, image)).heads.items()
                }
                for run in (reusing, plain)
            )
            assert found == expected
        assert reusing.reuse_stats()["partial"] >= 5


@pytest.mark.parametrize(("sizes", "expected"), [
    (SIZES, "ok    reuse  whole results and parts of feature maps"),
    ((), "model.yaml has no crop shapes for rv1106: compile it with --npu-shapes"),
])  # fmt: skip
def test_check_reports_whether_parts_can_be_computed(folder, tmp_path, sizes, expected):
    plugins.install()
    made = shaped.in_shapes(folder, sizes)
    path = tmp_path / "config.yaml"
    path.write_text(
        f"device: {{id: t, state_dir: {tmp_path}}}\nsource: {{type: synthetic}}\nreuse: {{mode: auto}}\n"
        f"model: {{path: {made.folder}, backend: one_shape}}\nsinks: [{{type: memory}}]\n"
    )
    loaded = config.load(path)
    assert expected in as_table(list(model_check._reuse(loaded)))  # in this process: a child has no fake engine
    found = as_table(check.check(loaded, "rv1106g3"))
    assert ("backbone0.onnx.64x64.rknn: its NPU memory is not in the manifest" in found) == bool(sizes)
    assert ("cached feature maps" in found) == bool(sizes)


@pytest.mark.parametrize(("size", "actual", "message"), [
    ((100, 96), (96, 96), r"backbone0: its graph for 100x96: does not fit into the image; expected sides that are"),
    ((96, 96), (64, 96), r"for 96x96: found input 'image' of \(96, 64\) cells, rows and columns; expected \(96, 96\)"),
])  # fmt: skip
def test_a_shape_that_does_not_fit_is_one_line(folder, size, actual, message):
    path = folder / manifest.FILE
    shaped.in_shapes(folder, (actual,))
    text = yaml.safe_load(path.read_text())
    text["shapes"][shaped.TARGET]["backbone"][0][1].update(width=size[0], height=size[1])
    path.write_text(yaml.safe_dump(text))
    made = manifest.load(folder)
    with pytest.raises(ModelError, match=message):
        open_features(made, shaped.Backend(), made.heads, ReuseConfig(tolerance=0), ReuseProfile())
