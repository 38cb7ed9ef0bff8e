"""Ground-truth files are read for the heads that they cover."""

import numpy as np
import pytest

from edge_app.bench.reuse import truth
from edge_app.bench.reuse.objects import class_of, head_of
from edge_app.errors import ClipError
from edge_app.model import manifest as manifests
from tests.conftest import PROJECT

CLIP = PROJECT / "models/digits/sample.mp4"
MODEL = manifests.load(PROJECT / "models/digits")


def test_the_truth_of_the_sample_has_digits_a_panel_and_a_scene():
    path = truth.find_truth_file(CLIP)
    assert path is not None
    frames, heads = truth.read_truth(path, MODEL, (640, 480))
    assert heads == {0, 1, 2}
    first = frames[0]
    assert head_of(first).tolist() == [0, 0, 0, 0, 1, 2]
    assert first.class_id[:4].tolist() == [class_of(0, digit) for digit in (4, 0, 7, 1)]
    np.testing.assert_allclose(first.xyxy[5], [0, 0, 640, 480])
    panel = first.xyxy[4]
    assert ((first.xyxy[:4, :2] > panel[:2]) & (first.xyxy[:4, 2:] < panel[2:])).all()


def test_a_clip_without_truth_has_none(tmp_path):
    assert truth.find_truth_file(tmp_path / "clip.mp4") is None


@pytest.mark.parametrize("line", ["no json", '{"scene": "sunny"}', '{"digits": [{"box": [0, 0, 1, 1]}]}', "[]", "{}"])
def test_rejects_a_line_that_is_not_truth_and_names_it(tmp_path, line):
    path = tmp_path / "clip.truth.jsonl"
    path.write_text('{"scene": "ok"}\n' + line)
    with pytest.raises(ClipError, match=r"clip\.truth\.jsonl:2: found .*; expected the true results of each head"):
        truth.read_truth(path, MODEL, (640, 480))
