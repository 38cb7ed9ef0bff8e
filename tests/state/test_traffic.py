"""How much state a busy camera publishes: every frame of vtest.avi, on the clip's own time."""

import textwrap

import pytest

from edge_app import config
from edge_app.daemon.present_state import PresentState
from edge_app.errors import EndOfClip
from edge_app.pipeline import build
from edge_app.pipeline.sensors import Reading

_FPS = 10


@pytest.fixture
def configuration(data, tmp_path):
    """NanoDet-m on persons, one zone, one line."""
    folder = tmp_path / "nanodet"
    folder.mkdir()
    (folder / "nanodet_m.onnx").write_bytes((data / "nanodet_m.onnx").read_bytes())
    (folder / "model.yaml").write_text(
        textwrap.dedent("""\
        format: 1
        name: nanodet
        input: {width: 416, height: 416, color: bgr, layout: nchw, resize: letterbox,
                mean: [103.53, 116.28, 123.675], std: [57.375, 57.12, 58.395]}
        heads: {objects: {family: nanodet, graph: {onnx: nanodet_m.onnx}, labels: coco80}}
        """)
    )
    path = tmp_path / "config.yaml"
    path.write_text(
        textwrap.dedent(f"""\
        device: {{id: cam-1, state_dir: {tmp_path}/state}}
        source: {{type: video, path: {data}/vtest.avi, pace: fast}}
        model: {{path: {folder}}}
        heads: {{objects: {{labels: [person]}}}}
        track: {{head: objects}}
        rules:
          - {{name: plaza, type: zone, head: objects, polygon: [[0.3, 0.3], [0.8, 0.3], [0.8, 1], [0.3, 1]]}}
          - {{name: gate, type: line, head: objects, line: [[0.5, 0], [0.5, 1]]}}
        sinks: []
        """)
    )
    return config.load(path)


@pytest.mark.long
def test_a_busy_camera_stays_within_the_budget(configuration):
    now_s, sent, late_s = 0.0, [], 0.0
    with build(configuration, replay=True) as running:
        running.board.now_s = lambda: now_s
        feed, state = running.board.open(), PresentState(lambda: now_s)
        changed_s = {}
        for frame_number in range(60 * _FPS):
            now_s = frame_number / _FPS
            try:
                frame = running.step()
            except EndOfClip:
                break
            state.update(running, frame, Reading(45.0, 100.0, 80.0, 200.0))
            for topic in feed.pending:
                changed_s.setdefault(topic, now_s)
            while (found := feed.next(lambda topic: len(f"edge-app/cam-1/state/camera/{topic}") + 9)) is not None:
                late_s = max(late_s, now_s - changed_s.pop(found[0]))
                sent.append((now_s, len(found[1]) + len(f"edge-app/cam-1/state/camera/{found[0]}") + 9))
    per_s = [[size for at_s, size in sent if second <= at_s < second + 1] for second in range(60)]
    total = sum(size for _, size in sent)
    print(f"\n{len(sent) / 60:.2f} messages and {total / 60:.0f} bytes a second; longest wait {late_s:.1f} s")
    print(f"busiest second: {max(map(len, per_s))} messages, {max(map(sum, per_s))} bytes")
    assert len(sent) > 30, "a busy clip changes its state"
    assert max(map(len, per_s)) <= 2
    assert max(map(sum, per_s)) <= 2000
