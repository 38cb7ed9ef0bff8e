"""`bench track`: simulated crowds, recorded boxes, and the comparison with the peer if it is installed."""

import json

import numpy as np
import pytest

from edge_app.bench import track
from edge_app.bench.crowd import Crowd, subsampled, with_lost_frames
from edge_app.errors import ConfigError

FRAMES = Crowd(people=8, seconds=6).simulate(3)


def test_a_simulation_repeats_exactly():
    again = Crowd(people=8, seconds=6).simulate(3)
    assert all(np.array_equal(a.detections.xyxy, b.detections.xyxy) for a, b in zip(FRAMES, again))


def test_detections_are_missed_and_false_at_the_configured_rates():
    frames = Crowd(people=30, seconds=20, pillars=0).simulate(0)
    true, found = (sum(len(x) for x in column) for column in zip(*((s.true_id, s.detections) for s in frames)))
    assert 0.93 < found / true < 0.97  # 10 % missed, 5 % false


def test_selected_frames_keep_their_time_stamps():
    assert [frame.captured_ns for frame in subsampled(FRAMES, 3)] == [frame.captured_ns for frame in FRAMES[::3]]
    kept = with_lost_frames(FRAMES, 0.2, 0)
    assert 0.6 < len(kept) / len(FRAMES) < 0.95


def test_is_no_worse_than_the_peer_and_faster():
    """A short version of the published benchmark."""
    pytest.importorskip("trackers", reason="needs the package to compare with: pip install edge-app[peers]")
    report = track.bench(track.Plan(people=(25,), seeds=3, seconds=12))
    for scene, scores in report.scores.items():
        ours, peers = scores["edge_app"], [scores[name] for name in track.NAMES[1:]]
        assert ours.idf1 >= max(peer.idf1 for peer in peers) - 0.01, scene
        assert ours.switches <= min(peer.switches for peer in peers), scene
    assert all(times["edge_app"] < min(times[name] for name in track.NAMES[1:]) for times in report.times_ms.values())
    assert json.loads(track.as_json(report))["times_ms"].keys() == {"20", "100"}
    assert "20 tracks" in track.as_table(report)


def test_reads_boxes_from_results_of_replay(tmp_path):
    path = tmp_path / "results.jsonl"
    lines = [
        {
            "kind": "result",
            "monotonic_ns": k * 40_000_000,
            "resolution": [200, 100],
            "heads": {"objects": {"detections": [{"label": "cat", "score": 0.9, "box": [0.1, 0.2, 0.3, 0.4]}]}},
        }
        for k in range(3)
    ]
    path.write_text("\n".join(json.dumps(line) for line in [*lines, {"kind": "event"}]))
    frames = track.read_boxes(path, "objects")
    assert [frame.captured_ns for frame in frames] == [0, 40_000_000, 80_000_000]
    np.testing.assert_allclose(frames[0].detections.xyxy, [[20, 20, 60, 40]], rtol=1e-6)


@pytest.mark.parametrize("text", ["not json", '{"kind": "result"}', '{"kind": "result", "heads": {}}'])
def test_rejects_a_file_without_boxes_and_names_the_line(tmp_path, text):
    path = tmp_path / "results.jsonl"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"results\.jsonl:1: expected a result with detections"):
        track.read_boxes(path, None)
