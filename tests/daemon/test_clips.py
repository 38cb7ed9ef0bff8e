"""A running daemon records the clip of an event, and says so."""

from __future__ import annotations

import signal

from edge_app.daemon.status_socket import request_status
from tests.clips.video import levels
from tests.running import Running
from tests.schema import strict

TEXT = """
device: {id: cam, state_dir: state}
source: {type: synthetic, width: 320, height: 240, fps: 10, live: true}
model: {path: PROJECT/models/digits, backend: onnx}
heads: {panel: {}}
rules: [{name: door, type: periodic, head: panel, first_s: 1, every_s: 600}]
publish: {results: none, status_every_s: 0}
sinks: [{type: jsonl, path: out.jsonl}]
clips: {enabled: true, before_s: 1, after_s: 0.5}
"""


def test_a_status_message_names_the_clip_and_its_event(config_file):
    with Running(config_file(TEXT)) as running:
        running.until(lambda: running.messages("status"), 60)
        (message,) = running.messages("status")
        strict().validate(message)
        clip = message["status"]["clip"]
        state = running.folder / "state"
        assert clip["events"] == [
            m["event_id"] for m in running.messages() if m["type"] == "new" and m["rule"] == "door"
        ]
        assert (state / "clips" / clip["name"]).stat().st_size == clip["bytes"]
        rate, found = levels(state / "clips" / clip["name"])
        assert len(found) / rate > 2.5, "a second before, two of the event, half a second after it"
        clips = request_status(state)["clips"]
        assert (clips["written"], clips["dropped"], clips["last_error"]) == (1, 0, None)
        running.stop(signal.SIGTERM)
        assert "Traceback" not in running.errors()
