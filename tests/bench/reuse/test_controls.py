"""What the same cost buys otherwise: schedules, windows and budgets, without and with a model."""

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


def watched(frames: int = 60, step: float = 3.0) -> ClipResults:
    """A walker seen by full inference, which takes 10 ms, ten times a second."""
    seen = [box(10 + step * i) for i in range(frames)]
    stamps = [i * 100 * MILLI for i in range(frames)]
    full = MethodResults(seen, [10 * MILLI] * frames, [0] * frames)
    return ClipResults((640, 480), stamps, build_reference(seen, stamps), {"off": full}, {})


@pytest.mark.parametrize("share", [1.0, 0.5, 1 / 3, 0.21])
def test_skipping_spends_its_share_and_no_more(share: float):
    looks = controls.skip_frames(watched(), share)
    assert np.mean(looks.cost_ns[1:]) / (10 * MILLI) == pytest.approx(share, abs=1 / 59)


def test_skipping_repeats_and_knows_how_old_its_results_are():
    seen = watched()
    looks = controls.skip_frames(seen, 0.5)
    assert looks.objects[1] is seen.results["off"].objects[1 if looks.cost_ns[1] else 0]
    assert set(looks.age_ns) == {0, 100 * MILLI}


def test_a_tracker_carries_boxes_on_between():
    seen = watched()
    repeated = controls.skip_frames(seen, 0.25)
    tracked = controls.skip_and_track(seen, 0.25, lambda: 0)  # a stopwatch that stands: the tracker is free
    truth = [float(each.xyxy[0, 0]) for each in seen.results["off"].objects]
    off = [abs(float(each.xyxy[0, 0]) - x) for each, x in zip(repeated.objects, truth)]
    closer = [abs(float(each.xyxy[0, 0]) - x) for each, x in zip(tracked.objects, truth)]
    assert np.mean(off[20:]) > 3
    assert np.mean(closer[20:]) < 0.5
    assert tracked.cost_ns == repeated.cost_ns


def test_the_tracker_pays_for_itself():
    ticks = iter(
        range(0, 10**12, MILLI)
    )  # every look at the run_clip is a millisecond later: a tenth of full inference
    looks = controls.skip_and_track(watched(), 0.5, lambda: next(ticks))
    assert np.mean(looks.cost_ns[1:]) / (10 * MILLI) == pytest.approx(0.5, abs=0.03)


def test_a_budget_saves_up_and_may_be_overdrawn():
    budget = CostAllowance(0.25)
    paid = []
    for _ in range(8):
        budget.earn()
        paid.append(budget.pay(1.0))
    assert paid == [False, False, False, True] * 2
    budget.spend(0.5)
    for _ in range(5):
        budget.earn()
        assert not budget.affords(1.0)
    budget.earn()
    assert budget.affords(1.0)


def test_input_sizes_are_multiples_of_32_of_the_same_shape():
    for area in (0.1, 0.3, 0.6, 1.0):
        width, height = controls.input_sizes(768, 576, area)[0]
        assert width % 32 == height % 32 == 0
        assert width * height / (768 * 576) == pytest.approx(area, abs=0.05)
        assert width / height == pytest.approx(4 / 3, rel=0.15)


def test_motion_is_found_where_the_object_moves():
    looked = motion.Motion()
    for number in range(6):
        boxes = looked.boxes(picture(number * 2))
    x, y = 6 + 30 + 9, 40 + 15  # the object's middle in the last picture
    assert any(x1 <= x <= x2 and y1 <= y <= y2 for x1, y1, x2, y2 in boxes)
    assert all(y1 >= 30 and y2 <= 80 for _, y1, _, y2 in boxes)


def test_windows_lie_inside_the_picture_and_cover_every_box():
    boxes = [(0, 0, 20, 30), (10, 5, 30, 40), (180, 130, 192, 144), (90, 60, 100, 80)]
    laid = motion.windows(boxes, (96, 72), (192, 144))
    assert len(laid) == 3  # the second box lies in the first one's window
    for a, b, c, d in laid:
        assert (c - a, d - b) == (96, 72)
        assert 0 <= a <= 96
        assert 0 <= b <= 72
    for x1, y1, x2, y2 in boxes:
        assert any(a <= x1 and b <= y1 and x2 <= c and y2 <= d for a, b, c, d in laid)


def test_a_window_replaces_what_lay_in_it_and_leaves_the_rest():
    known = Objects.joined([box(10), box(300)])
    found = motion_crops.merge_window(known, box(40), (0, 0, 200, 200), (640, 480))
    assert sorted(found.xyxy[:, 0].tolist()) == [40, 300]
    cut = motion_crops.merge_window(known, box(179), (0, 0, 200, 200), (640, 480))  # reaches over the window's edge
    assert sorted(cut.xyxy[:, 0].tolist()) == [300]


def test_a_model_runs_at_another_size(tmp_path):
    """The sizes are taken out of the graphs, and the heads still find their way."""
    pytest.importorskip("onnx", reason="graphs are rewritten with it: pip install edge-app[compiler]")
    model = manifests.load(PROJECT / "models/digits")
    small = resize_model(model, 256, 192, tmp_path / "small")
    assert (small.input.width, small.input.height) == (256, 192)
    with InferenceRun(small, ObjectReader(model), ModelConfig(model.folder)) as eye:
        objects, cost_ns, age_ns = eye.infer(Frame("t", 0, 0, 0, next(crossing().frames()).image))
    assert len(objects) >= 1  # the whole picture has a class
    assert cost_ns > 0
    assert age_ns == 0
