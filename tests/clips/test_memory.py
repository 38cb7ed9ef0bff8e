"""What `edge-app check` plans for clips."""

from __future__ import annotations

from edge_app.cli import check
from edge_app.clips.memory import memory_of_clips
from edge_app.config import load
from edge_app.config.clips import ClipsConfig
from edge_app.model import memory

TEXT = """source: {type: synthetic, width: 320, height: 240}
model: {path: PROJECT/models/digits, backend: onnx}
clips: {enabled: true, memory_mb: 9}
"""


def test_the_images_and_the_encoding_process_are_planned():
    (_, images), (_, small) = memory_of_clips(ClipsConfig(memory_mb=9))
    (_, _), (_, large) = memory_of_clips(ClipsConfig(width=1280))
    assert images == 9_000_000
    assert 36e6 < small < 45e6, "37 MiB were measured at 640x480"
    assert 90e6 < large < 105e6, "92 MiB were measured at 1280x960"


def test_check_says_that_clips_do_not_fit_a_board_of_64_mb(config_file):
    findings = list(check._memory(load(config_file(TEXT)), memory.board("rv1106g2")))
    assert [round(float(f.text.split()[0])) for f in findings if "event clips" in f.text] == [9, 38]
    assert {f.verdict for f in findings if "MISSING" in f.text or "event clips" in f.text} == {"fail"}
