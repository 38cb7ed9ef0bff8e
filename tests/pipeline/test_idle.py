"""Fewer frames and lower clocks while nothing happens, and both back at the first change."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from edge_app.clock import ClipClock
from edge_app.config.services import PowerConfig
from edge_app.frame import Detections, Event, Frame, HeadOutput
from edge_app.pipeline.idle import Governor, Idle

SECOND = 1_000_000_000


class Clock(ClipClock):
    def __init__(self):
        super().__init__()
        self.now_ns = 0

    def monotonic_ns(self):
        return self.now_ns


def frame(x=10.0, events=(), count=1):
    box = np.array([[x, 10, x + 40, 50]] * count, np.float32).reshape(-1, 4)
    found = Detections(box, np.full(count, 0.9, np.float32), np.zeros(count, np.int32))
    image = np.zeros((100, 100, 3), np.uint8)
    return Frame("cam", 0, 0, 0, image, heads={"objects": HeadOutput(found, 0)}, events=events)


def run(idle, clock, seconds, make=frame, fps=10):
    for _ in range(int(seconds * fps)):
        clock.now_ns += SECOND // fps
        idle.observe(make())


@pytest.fixture
def clock():
    return Clock()


def test_a_still_scene_lowers_the_rate_after_a_while_and_a_moved_box_raises_it(clock):
    idle = Idle(PowerConfig(idle_fps=2, idle_after_s=5), clock)
    run(idle, clock, 4.9)
    assert (idle.idle, idle.wait_s()) == (False, 0.0)
    run(idle, clock, 1)
    assert idle.idle
    assert idle.wait_s() == pytest.approx(0.5)
    clock.now_ns += SECOND // 4
    assert idle.wait_s() == pytest.approx(0.25)
    idle.observe(frame(x=30.0))
    assert (idle.idle, idle.wait_s()) == (False, 0.0)


def test_boxes_that_tremble_are_no_change_and_slow_drift_is(clock):
    idle = Idle(PowerConfig(idle_fps=2, idle_after_s=5), clock)
    run(idle, clock, 6)
    for x in (10.5, 9.5, 10.0):
        idle.observe(frame(x=x))
    assert idle.idle
    for step in range(10):
        clock.now_ns += SECOND
        idle.observe(frame(x=10.0 + step))
        if not idle.idle:
            break
    assert step == 3  # 3 pixels from where it was when something happened last


@pytest.mark.parametrize("make", [lambda: frame(count=2), lambda: frame(count=0), lambda: frame(events=(EVENT,))])
def test_an_object_more_or_less_and_an_event_raise_the_rate(clock, make):
    idle = Idle(PowerConfig(idle_fps=1, idle_after_s=1), clock)
    run(idle, clock, 3)
    assert idle.idle
    idle.observe(make())
    assert not idle.idle


EVENT = Event("line", "line", "start", 1, 0, 0, {})


@pytest.mark.parametrize(
    ("config", "replay"), [(PowerConfig(), False), (PowerConfig(idle_fps=1, idle_after_s=0), True)]
)
def test_nothing_is_done_unless_it_is_asked_for_and_in_a_replay(clock, config, replay):
    idle = Idle(config, clock, replay=replay)
    run(idle, clock, 100)
    assert (idle.idle, idle.wait_s()) == (False, 0.0)


@pytest.fixture
def board(tmp_path):
    """A board of two CPU clusters and an NPU, of which one cluster has no powersave."""
    for name, known in {"policy0": "ondemand powersave", "policy4": "ondemand performance"}.items():
        folder = tmp_path / "sys/devices/system/cpu/cpufreq" / name
        folder.mkdir(parents=True)
        (folder / "scaling_governor").write_text("ondemand\n")
        (folder / "scaling_available_governors").write_text(f"{known}\n")
    npu = tmp_path / "sys/class/devfreq/fdab0000.npu"
    npu.mkdir(parents=True)
    (npu / "governor").write_text("rknpu_ondemand\n")
    (npu / "available_governors").write_text("rknpu_ondemand powersave\n")
    return tmp_path


def governors(board):
    found = sorted(board.rglob("*governor"))
    return [file.read_text().strip() for file in found]


def test_the_clocks_fall_while_nothing_happens_and_return_at_a_change_and_at_the_end(clock, board):
    before = governors(board)
    idle = Idle(PowerConfig(governor="powersave", idle_after_s=1), clock, root=board)
    run(idle, clock, 3)
    assert sorted(governors(board)) == ["ondemand", "powersave", "powersave"]
    assert idle.wait_s() == 0.0  # every frame
    idle.observe(frame(x=80.0))
    assert governors(board) == before
    run(idle, clock, 3, lambda: frame(x=80.0))
    assert governors(board) != before
    idle.close()
    assert governors(board) == before


def test_another_configuration_restores_the_clocks(clock, board):
    before = governors(board)
    idle = Idle(PowerConfig(governor="powersave", idle_after_s=1), clock, root=board)
    run(idle, clock, 3)
    idle.apply(PowerConfig(idle_fps=1, idle_after_s=1))
    assert governors(board) == before
    run(idle, clock, 3)
    assert governors(board) == before
    assert idle.wait_s() > 0


def test_with_several_cameras_the_clocks_stay(clock, board):
    before = governors(board)
    idle = Idle(PowerConfig(governor="powersave", idle_after_s=1), clock, several=True, root=board)
    run(idle, clock, 3)
    assert governors(board) == before


def test_clocks_that_cannot_be_set_are_one_warning(tmp_path, caplog):
    folder = tmp_path / "sys/devices/system/cpu/cpufreq/policy0"
    (folder / "scaling_governor").mkdir(parents=True)
    (folder / "scaling_available_governors").write_text("powersave\n")
    governor = Governor("powersave", tmp_path)
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            governor.lower()
            governor.restore()
    (record,) = caplog.records
    assert "scaling_governor: Is a directory; the clocks stay as they are" in record.getMessage()
