"""The documented way from pictures to names, with the public models: SCRFD finds faces, MobileFaceNet embeds them."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest

from edge_app import config
from edge_app.cli import embedder, main
from tests.conftest import PROJECT

CONFIG = """\
device: {id: entrance, state_dir: state}
source: {type: images, path: pictures}
model: {path: model}
track: {head: scrfd_500m}
rules:
  - {name: door, type: identity, head: face, threshold: 0.475, grace_s: 1, unknown_s: 0.5}
sinks: [{type: jsonl, path: "-"}]
"""
FIRST = """\
format: 1
name: people
input: {width: 640, height: 640, color: rgb, mean: [127.5, 127.5, 127.5], std: [128, 128, 128], pad: 0}
heads:
  scrfd_500m: {family: scrfd, graph: {onnx: scrfd_500m.onnx}, labels: [face]}
"""


@pytest.fixture
def folder(tmp_path, data, monkeypatch):
    """config.yaml, and a model folder with the block of models/README.md."""
    text = (PROJECT / "models/README.md").read_text(encoding="utf-8")
    block = text[text.index("## Faces and names") :].split("```yaml\n")[1].split("```")[0]
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.yaml").write_text(FIRST + block, encoding="utf-8")
    for name in ("scrfd_500m.onnx", "mobilefacenet.onnx"):
        shutil.copy(data / name, tmp_path / "model")
    (tmp_path / "config.yaml").write_text(CONFIG, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def face(data, person, number):
    return cv2.imread(str(data / f"orl_faces/s{person}/{number}.pgm"))


def save(folder, name, pixels):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)
    return path


def scene(pixels, x=250):
    """A face on a gray wall."""
    wall = np.full((360, 640, 3), 90, np.uint8)
    if pixels is not None:
        wall[80 : 80 + pixels.shape[0], x : x + pixels.shape[1]] = pixels
    return wall


@pytest.mark.system
def test_people_in_pictures_become_events_with_their_names(folder, data, capsys):
    for name, person in (("Ada", 1), ("Bob", 5)):
        pictures = [str(save(folder, f"{name}{i}.png", face(data, person, i))) for i in (1, 2)]
        assert main(["gallery", "add", name, *pictures]) == 0
    shown = [face(data, 1, i) for i in (3, 4, 5, 6)] + [None] * 13 + [face(data, 9, 1)] * 9
    for i, pixels in enumerate(shown):
        save(folder, f"pictures/{i:03}.png", scene(pixels))
    assert main(["replay", "pictures", "--out", "out.jsonl"]) == 0
    capsys.readouterr()
    messages = [json.loads(line) for line in (folder / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    told = [
        (m["type"], m["value"]["identity"], m["value"].get("reason"))
        for m in messages
        if m["kind"] == "event" and m["rule"] == "door"
    ]
    assert told == [("new", "Ada", None), ("end", "Ada", "left"), ("new", None, None), ("end", None, "end_of_clip")]


def test_embeddings_equal_those_of_the_graph_called_directly_on_the_same_crops(folder, data):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(data / "mobilefacenet.onnx"), providers=["CPUExecutionProvider"])
    loaded = config.load(folder / "config.yaml")
    with embedder.opened(loaded, embedder.head_of(loaded, None)) as opened:
        for person in (1, 12, 30):
            found = opened.face(save(folder, "one.png", face(data, person, 1)))
            planes = ((found.crop[..., ::-1].astype(np.float32) - 127.5) / 127.5).transpose(2, 0, 1)
            (vector,) = session.run(None, {"input": np.ascontiguousarray(planes)[None]})[0]
            np.testing.assert_allclose(found.embedding, vector / np.linalg.norm(vector), atol=1e-4)


@pytest.mark.long
def test_the_rates_on_forty_people(folder, data, capsys):
    """400 pictures: the figures of RESULTS.md."""
    for person in range(1, 41):
        for number in range(1, 11):
            save(folder, f"album/s{person}/{number}.png", face(data, person, number))
    assert main(["gallery", "test", "album", "--far", "0.01", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    print(report)
    assert (report["pictures"], report["skipped"]) == (400, 0)
    assert report["equal_error_rate"] < 0.012
    assert report["rank_1"] > 0.99
    assert report["false_rejects"] < 0.015
