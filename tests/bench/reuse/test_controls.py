"""The other methods at equal cost: schedules, allowance, motion and windows; and a resized model."""

import numpy as np
import pytest

from edge_app.bench.reuse import controls, motion, motion_crops
from edge_app.bench.reuse.allowance import CostAllowance
from edge_app.bench.reuse.objects import ObjectReader, Objects
from edge_app.bench.reuse.resized_model import resize_model
from edge_app.bench.reuse.runs import ClipResults, InferenceRun, MethodResults, build_reference
from edge_app.config import ModelConfig
from edge_app.frame import Frame
from edge_app.model import manifest as manifests
from tests.conftest import PROJECT

from .scenes import crossing, picture

MILLI = 1_000_000


def box(x: float) -> Objects:
    xyxy = np.array([[x, 10, x + 20, 50]], np.float32)
    return Objects(xyxy, np.zeros(1, np.int64), np.full(1, 0.9, np.float32), np.ones(1, bool))


def full_results(frames: int = 60, step: float = 3.0) -> ClipResults:
    """Full inference on a person who walks: 10 ms per frame, 10 frames per second."""
    objects = [box(10 + step * i) for i in range(frames)]
    stamps = [i * 100 * MILLI for i in range(frames)]
    full = MethodResults(objects, [10 * MILLI] * frames, [0] * frames)
    return ClipResults((640, 480), stamps, build_reference(objects, stamps), {"off": full}, {})


@pytest.mark.parametrize("share", [1.0, 0.5, 1 / 3, 0.21])
def test_skipping_frames_spends_its_share(share: float):
    results = controls.skip_frames(full_results(), share)
    assert np.mean(results.cost_ns[1:]) / (10 * MILLI) == pytest.approx(share, abs=1 / 59)


def test_skipping_frames_repeats_the_last_result_with_its_age():
    measured = full_results()
    results = controls.skip_frames(measured, 0.5)
    assert results.objects[1] is measured.results["off"].objects[1 if results.cost_ns[1] else 0]
    assert set(results.age_ns) == {0, 100 * MILLI}


def test_the_tracker_moves_boxes_between_inferences():
    measured = full_results()
    repeated = controls.skip_frames(measured, 0.25)
    tracked = controls.skip_and_track(measured, 0.25, lambda: 0)  # the tracker costs nothing
    truth = [float(each.xyxy[0, 0]) for each in measured.results["off"].objects]
    off = [abs(float(each.xyxy[0, 0]) - x) for each, x in zip(repeated.objects, truth)]
    closer = [abs(float(each.xyxy[0, 0]) - x) for each, x in zip(tracked.objects, truth)]
    assert np.mean(off[20:]) > 3
    assert np.mean(closer[20:]) < 0.5
    assert tracked.cost_ns == repeated.cost_ns


def test_the_time_of_the_tracker_is_part_of_the_share():
    ticks = iter(range(0, 10**12, MILLI))  # each call is 1 ms later, a tenth of full inference
    results = controls.skip_and_track(full_results(), 0.5, lambda: next(ticks))
    assert np.mean(results.cost_ns[1:]) / (10 * MILLI) == pytest.approx(0.5, abs=0.03)


def test_the_allowance_accumulates_and_may_become_negative():
    allowance = CostAllowance(0.25)
    paid = []
    for _ in range(8):
        allowance.earn()
        paid.append(allowance.pay(1.0))
    assert paid == [False, False, False, True] * 2
    allowance.spend(0.5)
    for _ in range(5):
        allowance.earn()
        assert not allowance.affords(1.0)
    allowance.earn()
    assert allowance.affords(1.0)


def test_input_sizes_are_multiples_of_32_with_the_same_aspect_ratio():
    for area in (0.1, 0.3, 0.6, 1.0):
        width, height = controls.input_sizes(768, 576, area)[0]
        assert width % 32 == height % 32 == 0
        assert width * height / (768 * 576) == pytest.approx(area, abs=0.05)
        assert width / height == pytest.approx(4 / 3, rel=0.15)


def test_motion_is_found_at_the_moving_object():
    detector = motion.Motion()
    for number in range(6):
        boxes = detector.boxes(picture(number * 2))
    x, y = 6 + 30 + 9, 40 + 15  # the center of the object in the last image
    assert any(x1 <= x <= x2 and y1 <= y <= y2 for x1, y1, x2, y2 in boxes)
    assert all(y1 >= 30 and y2 <= 80 for _, y1, _, y2 in boxes)


def test_windows_are_inside_the_image_and_contain_every_box():
    boxes = [(0, 0, 20, 30), (10, 5, 30, 40), (180, 130, 192, 144), (90, 60, 100, 80)]
    placed = motion.windows(boxes, (96, 72), (192, 144))
    assert len(placed) == 3  # the first window contains the second box
    for a, b, c, d in placed:
        assert (c - a, d - b) == (96, 72)
        assert 0 <= a <= 96
        assert 0 <= b <= 72
    for x1, y1, x2, y2 in boxes:
        assert any(a <= x1 and b <= y1 and x2 <= c and y2 <= d for a, b, c, d in placed)


def test_a_window_replaces_the_objects_inside_it_only():
    before = Objects.joined([box(10), box(300)])
    found = motion_crops.merge_window(before, box(40), (0, 0, 200, 200), (640, 480))
    assert sorted(found.xyxy[:, 0].tolist()) == [40, 300]
    cut = motion_crops.merge_window(before, box(179), (0, 0, 200, 200), (640, 480))  # crosses the window's edge
    assert sorted(cut.xyxy[:, 0].tolist()) == [300]


def test_a_model_runs_at_another_input_size(tmp_path):
    """The sizes are removed from the graphs, and the heads still decode their outputs."""
    pytest.importorskip("onnx", reason="graphs are rewritten with it: pip install edge-app[compiler]")
    model = manifests.load(PROJECT / "models/digits")
    small = resize_model(model, 256, 192, tmp_path / "small")
    assert (small.input.width, small.input.height) == (256, 192)
    with InferenceRun(small, ObjectReader(model), ModelConfig(model.folder)) as run:
        objects, cost_ns, age_ns = run.infer(Frame("t", 0, 0, 0, next(crossing().frames()).image))
    assert len(objects) >= 1  # the class of the image
    assert cost_ns > 0
    assert age_ns == 0
