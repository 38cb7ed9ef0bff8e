"""Truth files are read for the heads that they tell of."""

import numpy as np
import pytest

from edge_app.bench.reuse import truth
from edge_app.bench.reuse.objects import class_of, head_of
from edge_app.errors import ClipError
from edge_app.model import manifest as manifests
from tests.conftest import PROJECT

CLIP = PROJECT / "models/digits/sample.mp4"
MODEL = manifests.load(PROJECT / "models/digits")


def test_the_sample_s_truth_is_digits_a_panel_and_a_scene():
    path = truth.find_truth_file(CLIP)
    assert path is not None
    frames, told = truth.read_truth(path, MODEL, (640, 480))
    assert told == {0, 1, 2}
    first = frames[0]
    assert head_of(first).tolist() == [0, 0, 0, 0, 1, 2]
    assert first.class_id[:4].tolist() == [class_of(0, digit) for digit in (4, 0, 7, 1)]
    np.testing.assert_allclose(first.xyxy[5], [0, 0, 640, 480])
    panel = first.xyxy[4]
    assert ((first.xyxy[:4, :2] > panel[:2]) & (first.xyxy[:4, 2:] < panel[2:])).all()


def test_a_clip_without_truth_has_none(tmp_path):
    assert truth.find_truth_file(tmp_path / "clip.mp4") is None


@pytest.mark.parametrize("line", ["no json", '{"scene": "sunny"}', '{"digits": [{"box": [0, 0, 1, 1]}]}', "[]", "{}"])
def test_another_file_is_named_with_its_line(tmp_path, line):
    path = tmp_path / "clip.truth.jsonl"
    path.write_text('{"scene": "ok"}\n' + line)
    with pytest.raises(ClipError, match=r"clip\.truth\.jsonl:2: found .*; expected what each head should see"):
        truth.read_truth(path, MODEL, (640, 480))
