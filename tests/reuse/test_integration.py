"""Reuse through the whole: configuration, second-stage heads, tracking between frames, heartbeat, check."""

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
from edge_app.pipeline.loop import build, status
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


def test_without_the_block_nothing_is_reused(written):
    path = written()
    path.write_text(path.read_text().replace("reuse: {mode: auto}\n", ""))
    assert config.load(path).reuse.mode == "off"


def test_the_block_is_read(written):
    read = config.load(written("{mode: gate, max_age_s: 5, tolerance: 12, ignore: [[[0, 0], [1, 0], [1, 0.1]]]}")).reuse
    assert read == ReuseConfig("gate", 5.0, 12.0, ignore=(((0.0, 0.0), (1.0, 0.0), (1.0, 0.1)),))


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ("{mode: of}", "of"),
        ("{max_age_s: 0}", "max_age_s"),
        ("{ignore: [[[0, 0], [1, 1]]]}", "3"),
        ("{moed: off}", "moed"),
    ],
)
def test_a_mistake_is_told_with_its_line(written, block, told):
    with pytest.raises(ConfigError, match=rf"config\.yaml:5: .*{told}"):
        config.load(written(block))


def test_a_run_measures_its_costs_once_and_tells_what_it_reused(written, tmp_path):
    loaded = config.load(written())
    for _ in range(2):
        with build(loaded) as pipeline:
            for _ in range(12):
                pipeline.step(timeout_s=5.0)
            told = status(pipeline)["reuse"]
    assert told["gate"] >= 8
    assert len(list((tmp_path / "state" / "tune").iterdir())) == 1


def test_a_replay_leaves_nothing_behind_and_is_the_same_twice(written, tmp_path):
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


def test_a_new_source_is_looked_at_anew(written):
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


def test_check_states_what_reuse_keeps(written):
    found = {finding.text: finding for finding in check.check(config.load(written())) if finding.what == "reuse"}
    assert any("bytes" in text for text in found)


def tracked(x, t_s, reused="", age_s=0.0):
    found = Detections(
        np.array([[x, 50, x + 40, 120]], np.float32), np.array([0.9], np.float32), np.array([0], np.int32)
    )
    return Frame(
        "clip", 0, round(t_s * 1e9), 0, np.zeros((240, 320, 3), np.uint8),
        heads={"digits": HeadOutput(found, round(age_s * 1e9), reused)},
    )  # fmt: skip


def test_between_key_frames_boxes_are_carried_and_marked():
    tracker = Tracker(TrackConfig(head="digits"))
    for i in range(10):
        tracker.track(tracked(20 + 10 * i, 1 + i * 0.1))
    frame = tracker.track(tracked(110, 2.1, "held", 0.2))  # the detector's last word, of 0.2 s ago
    output = frame.outputs["digits"]
    assert output.reused == "track"
    assert output.age_ns == 200_000_000
    assert output.result.xyxy[0, 0] == pytest.approx(130, abs=6)
    assert output.result.track_id.tolist() == [1]
    message = Encoder("d", "b", {"digits": ("0",)}).result(1, frame, clock_synced=True)
    assert b'"reused":"track"' in message.payload


def test_a_result_that_stands_is_evidence_for_the_tracker():
    tracker = Tracker(TrackConfig(head="digits"))
    for i in range(5):
        tracker.track(tracked(20, 1 + i * 0.1))
    for i in range(100):  # nothing changes for 10 s: longer than a track is kept unseen
        tracker.track(tracked(20, 1.5 + i * 0.1, "result", i * 0.1))
    frame = tracker.track(tracked(22, 11.6))
    assert frame.outputs["digits"].result.track_id.tolist() == [1]


def test_the_schema_knows_every_way_of_reuse():
    schema = json.loads(SCHEMA_FILE.read_text())
    assert set(schema["$defs"]["head"]["properties"]["reused"]["enum"]) == {"features", "result", "held", "track"}
