"""Reuse in the whole program: configuration, replay, tracking between frames, heartbeat, check."""

from __future__ import annotations

import json

import numpy as np
import pytest

from edge_app import cli, config
from edge_app.cli import check
from edge_app.config.reuse import ReuseConfig
from edge_app.config.rules import TrackConfig
from edge_app.errors import ConfigError, EndOfClip
from edge_app.frame import Detections, Frame, HeadOutput
from edge_app.messages import SCHEMA_FILE, Encoder
from edge_app.pipeline import build
from edge_app.tracking.tracker import Tracker
from tests.reuse.models import SHIPPED

CONFIG = """\
device: {{id: test, state_dir: {state}}}
source: {{type: video, path: {clip}, pace: fast}}
model: {{path: {model}}}
track: {{head: digits}}
reuse: {reuse}
sinks:
  - {{type: memory}}
"""


@pytest.fixture
def written(tmp_path):
    def write(reuse="{mode: auto}"):
        path = tmp_path / "config.yaml"
        text = CONFIG.format(state=tmp_path / "state", clip=SHIPPED / "sample.mp4", model=SHIPPED, reuse=reuse)
        path.write_text(text)
        return path

    return write


def test_reuse_is_off_without_the_block(written):
    path = written()
    path.write_text(path.read_text().replace("reuse: {mode: auto}\n", ""))
    assert config.load(path).reuse.mode == "off"


def test_the_block_is_read(written):
    read = config.load(written("{mode: gate, max_age_s: 5, tolerance: 12, ignore: [[[0, 0], [1, 0], [1, 0.1]]]}")).reuse
    assert read == ReuseConfig("gate", 5.0, 12.0, ignore=(((0.0, 0.0), (1.0, 0.0), (1.0, 0.1)),))


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("{mode: of}", "of"),
        ("{max_age_s: 0}", "max_age_s"),
        ("{ignore: [[[0, 0], [1, 1]]]}", "3"),
        ("{moed: off}", "moed"),
    ],
)
def test_a_mistake_is_reported_with_its_line(written, block, message):
    with pytest.raises(ConfigError, match=rf"config\.yaml:5: .*{message}"):
        config.load(written(block))


def test_a_run_measures_its_costs_once_and_counts_its_answers(written, tmp_path):
    loaded = config.load(written())
    for _ in range(2):
        with build(loaded) as pipeline:
            for _ in range(12):
                pipeline.step(timeout_s=5.0)
            counters = pipeline.status()["reuse"]
    assert counters["gate"] >= 8
    assert len(list((tmp_path / "state" / "tune" / "costs").glob("*/*.yaml"))) == 1


def test_a_replay_is_repeatable_and_stores_nothing(written, tmp_path):
    path, texts = written(), []
    for i in range(2):
        out = tmp_path / f"{i}.jsonl"
        assert (
            cli.main(["replay", "-c", str(path), "--out", str(out), "--max-frames", "60", str(SHIPPED / "sample.mp4")])
            == 0
        )
        texts.append(out.read_bytes())
    assert texts[0] == texts[1]
    assert not (tmp_path / "state" / "tune").exists()
    heads = [json.loads(line).get("heads", {}) for line in texts[0].splitlines()]
    reused = [head["reused"] for head in (each.get("digits", {}) for each in heads) if "reused" in head]
    assert reused.count("result") >= 30


def test_the_first_frame_of_a_new_source_is_dense(written):
    loaded = config.load(written())
    with build(loaded, replay=True) as pipeline:
        for _ in range(5):
            pipeline.step()
        before = pipeline.reuse_stats()["dense"]
        pipeline.apply(loaded.replaced(source=config.from_url("synthetic:")))
        for _ in range(2):
            try:
                frame = pipeline.step(timeout_s=5.0)
            except EndOfClip:
                break
        assert pipeline.reuse_stats()["dense"] > before
        assert frame is not None


def test_check_reports_the_memory_of_reuse(written):
    found = {finding.text: finding for finding in check.check(config.load(written())) if finding.area == "reuse"}
    assert any("bytes" in text for text in found)


def tracked(x, t_s, reused="", age_s=0.0):
    found = Detections(
        np.array([[x, 50, x + 40, 120]], np.float32), np.array([0.9], np.float32), np.array([0], np.int32)
    )
    return Frame(
        "clip", 0, round(t_s * 1e9), 0, np.zeros((240, 320, 3), np.uint8),
        heads={"digits": HeadOutput(found, round(age_s * 1e9), reused)},
    )  # fmt: skip


def test_the_tracker_moves_and_marks_boxes_of_held_results():
    tracker = Tracker(TrackConfig(head="digits"))
    for i in range(10):
        tracker.track(tracked(20 + 10 * i, 1 + i * 0.1))
    frame = tracker.track(tracked(110, 2.1, "held", 0.2))  # the detector's last result is 0.2 s old
    output = frame.outputs["digits"]
    assert output.reused == "track"
    assert output.age_ns == 200_000_000
    assert output.result.xyxy[0, 0] == pytest.approx(130, abs=6)
    assert output.result.track_id.tolist() == [1]
    message = Encoder("d", "b", {"digits": ("0",)}).result(1, frame, clock_synced=True)
    assert b'"reused":"track"' in message.payload


def test_a_reused_result_counts_as_a_detection_for_the_tracker():
    tracker = Tracker(TrackConfig(head="digits"))
    for i in range(5):
        tracker.track(tracked(20, 1 + i * 0.1))
    for i in range(100):  # nothing changes for 10 s, longer than a track survives without detections
        tracker.track(tracked(20, 1.5 + i * 0.1, "result", i * 0.1))
    frame = tracker.track(tracked(22, 11.6))
    assert frame.outputs["digits"].result.track_id.tolist() == [1]


def test_the_schema_lists_every_kind_of_reuse():
    schema = json.loads(SCHEMA_FILE.read_text())
    assert set(schema["$defs"]["head"]["properties"]["reused"]["enum"]) == {"features", "result", "held", "track"}
