"""Models that resemble those of a family: each kind is named, or asked for by an option that exists."""

from __future__ import annotations

import argparse
import re

import numpy as np
import pytest

from edge_app.cli.commands import compile as compile_command
from edge_app.compiler import input_models, unsupported
from edge_app.compiler.input_models import ModelOptions
from edge_app.errors import ModelError
from tests.compiler.graphs import Graph
from tests.compiler.outputs import cells, random, save

ALL = cells(64, 8, 16, 32)  # of a 64 x 64 input
FACES = {"score": random(1, 90, 1), "boxes": random(1, 90, 4), "points": random(1, 90, 10)}


def read(path, **given):
    (found,) = input_models.read([path], ModelOptions(**given))
    return found


NAMED = {
    "a MediaPipe detector": {"regressors": random(1, 2016, 18), "classificators": random(1, 2016, 1)},
    "a MediaPipe detector ": {
        "r8": random(1, 512, 12), "r16": random(1, 384, 12), "s8": random(1, 512, 1), "s16": random(1, 384, 1)
    },
    "a detector whose rows may be landmarks of faces": {
        f"stride_{s}": random(1, 3, 64 // s, 64 // s, 16) for s in (8, 16, 32)
    },
    "a detector whose rows may be landmarks of faces ": {"out": random(1, 3 * ALL, 16)},
    "a face detector with landmarks in YOLOv7-face form": {"out": random(1, 3 * ALL, 21)},
    "CenterNet": {"heat": random(1, 80, 16, 16), "size": random(1, 2, 16, 16), "offset": random(1, 2, 16, 16)},
    "a depth map": {"depth": random(1, 64, 64, high=9)},
    "an image as output": {"image2": random(1, 3, 128, 128)},
    "an image as output ": {"clean": random(1, 3, 64, 64)},
    "one map of values: depth, text or saliency": {"map": random(1, 1, 64, 64)},
    "heatmaps of keypoints": {"heat": random(1, 17, 16, 16)},
    "a grid of anchors such as YOLOv2's": {"grid": random(1, 125, 2, 2)},
    "a feature map": {"features": random(1, 256, 4, 4)},
    "landmarks": {"points": random(1, 136)},
    "landmarks ": {"points": random(1, 1404), "score": random(1, 1)},
    "several vectors, such as attributes": {"age": random(1, 1), "gender": random(1, 2)},
    "a vector that may be an embedding or class scores": {"vector": random(1, 512)},
    "one of the three networks of MTCNN": {"boxes": random(1, 4, 27, 27), "faces": random(1, 2, 27, 27)},
    "one of the three networks of MTCNN ": {"b": random(1, 4), "points": random(1, 10), "faces": random(1, 2)},
    "text detection (CRAFT)": {"y": random(1, 2, 32, 32), "feature": random(1, 32, 32, 32)},
    "a single number, such as an age": {"age": random(1, 1)},
    "a vector that may be class scores, or values such as a box, angles or points": {"y": random(1, 4)},
}  # fmt: skip


@pytest.mark.parametrize("kind", NAMED)
def test_names_what_is_not_supported(tmp_path, kind):
    with pytest.raises(ModelError) as caught:
        read(save(tmp_path / "a.onnx", NAMED[kind]))
    text = str(caught.value)
    assert text.startswith(f"a: {kind.strip()}"), text
    assert "\n" not in text
    assert "expected " in text


@pytest.mark.parametrize(("rows", "classes", "size"), [(68, 18, (94, 24)), (40, 6625, (320, 48)), (40, 97, (128, 128))])
def test_names_text_recognition(tmp_path, rows, classes, size):
    last = "" if size[0] > size[1] else "Softmax"
    with pytest.raises(
        ModelError, match=r"a: text recognition \(CTC\): not supported; .* expected --labels FILE if it is"
    ):
        read(save(tmp_path / "a.onnx", {"y": random(1, rows, classes)}, size=size, last=last))


def test_names_suppression_and_class_numbers_in_the_graph(tmp_path):
    g = Graph()
    boxes = g.node("Add", g.weight(random(1, 20, 4)), g.node("ReduceMean", "image", keepdims=0))
    chosen = g.node("NonMaxSuppression", boxes, g.weight(random(1, 2, 20)), g.weight(np.array([9], np.int64)))
    g.save(tmp_path / "a.onnx", {"chosen": g.node("Cast", chosen, to=1)})
    with pytest.raises(ModelError, match="non-maximum suppression in the graph"):
        read(tmp_path / "a.onnx")
    g = Graph(opset=13)
    rows = g.node("NonZero", g.conv("image", 3, 1))
    g.save(tmp_path / "c.onnx", {"rows": g.node("Cast", rows, to=1)})
    with pytest.raises(ModelError, match="outputs whose size depends on what the image shows"):
        read(tmp_path / "c.onnx")
    g = Graph()
    numbers = g.node("ArgMax", g.conv("image", 3, 5), axis=1)
    g.save(tmp_path / "b.onnx", {"classes": g.node("Cast", numbers, to=1)})
    with pytest.raises(ModelError, match="class numbers instead of class scores"):
        read(tmp_path / "b.onnx")


@pytest.mark.parametrize(
    ("task", "name"),
    [
        ("depth", "a depth map"),
        ("gaze", "the task 'gaze'"),
    ],
)
def test_names_the_task_of_the_metadata(tmp_path, task, name):
    """Although the shape is that of a detector of 7 classes."""
    path = save(tmp_path / "a.onnx", {"y": random(1, 11, ALL, high=64)}, metadata={"task": task})
    with pytest.raises(ModelError, match=f"^a: {name}: not supported; found it in the metadata of the file; "):
        read(path)


@pytest.mark.parametrize(
    ("kind", "family"),
    [
        ("landmarks", "classify"),
        ("a vector that may be an embedding or class scores", "embed"),
        ("a vector that may be an embedding or class scores", "classify"),
        ("one map of values: depth, text or saliency", "segment"),
        ("heatmaps of keypoints", "segment"),
        ("a feature map", "segment"),
        ("a single number, such as an age", "classify"),
        ("a vector that may be class scores, or values such as a box, angles or points", "classify"),
    ],
)
def test_an_option_says_what_it_is(tmp_path, kind, family):
    path = save(tmp_path / "a.onnx", NAMED[kind])
    with pytest.raises(ModelError, match=f"--family {family} if "):
        read(path)
    assert read(path, family=family).family.name == family


def test_labels_say_that_a_vector_has_class_scores(tmp_path):
    path = save(tmp_path / "a.onnx", {"vector": random(1, 128, low=-3)})
    assert read(path, labels=tuple(f"c{i}" for i in range(128))).family.name == "classify"
    path = save(tmp_path / "b.onnx", {"vector": random(1, 1000, low=-3)})
    assert read(path).family.name == "classify"
    path = save(tmp_path / "c.onnx", {"vector": random(1, 128, low=-3)}, last="Softmax")
    assert read(path).family.name == "classify"


def test_a_short_vector_has_class_scores_if_something_says_so(tmp_path):
    """Labels, a softmax, the name of the output, or as many values as ImageNet has classes."""
    path = save(tmp_path / "a.onnx", {"y": random(1, 4, low=-3)})
    assert read(path, labels=("a", "b", "c", "d")).family.name == "classify"
    path = save(tmp_path / "b.onnx", {"y": random(1, 4, low=-3)}, last="Softmax")
    assert read(path).family.name == "classify"
    path = save(tmp_path / "c.onnx", {"logits": random(1, 4, low=-3)})
    assert read(path).family.name == "classify"
    with pytest.raises(ModelError, match="--labels FILE if it is class scores or --family classify if "):
        read(save(tmp_path / "d.onnx", {"y": random(1, 4, low=-3)}, last="Sigmoid"))


def test_labels_say_that_a_grid_has_no_landmarks(tmp_path):
    table = random(1, 3 * ALL, 16)
    table[..., :4] *= 60
    path = save(tmp_path / "a.onnx", {"y": table})
    found = read(path, labels=tuple(f"c{i}" for i in range(11)))
    assert found.family.name == "yolo"


def test_every_answer_is_an_option_of_compile():
    parser = argparse.ArgumentParser()
    compile_command.add(parser.add_subparsers())
    arguments = parser.parse_args(["compile", "a.onnx"])
    for kind in (*unsupported.FORMS, *unsupported.KINDS):
        for option, meaning in kind.answers:
            assert hasattr(arguments, option.split()[0]), option
            assert meaning
            assert re.fullmatch(r"(family [a-z]+|version [a-z0-9]+|labels FILE)", option)


def test_the_task_of_the_metadata_needs_no_guess_by_shapes(tmp_path):
    """A wide input with few rows is no text, and 11 classes are no landmarks."""
    corners = np.concatenate([random(1, 300, 2, high=30), random(1, 300, 2, low=31, high=60)], axis=2)
    final = np.concatenate([corners, random(1, 300, 1), np.full((1, 300, 1), 2)], axis=2)
    path = save(tmp_path / "a.onnx", {"y": final}, size=(128, 64), metadata={"task": "detect"})
    assert read(path).family.name == "yolo"
