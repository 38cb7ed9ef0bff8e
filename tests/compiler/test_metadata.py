"""The fields read from the metadata of a file; invalid ones are left empty."""

from __future__ import annotations

import pytest

from edge_app.compiler.metadata import Metadata, parse


def test_reads_the_metadata_of_ultralytics():
    found = parse(
        {
            "description": "Ultralytics v8n model", "author": "Ultralytics", "version": "8.4.190", "stride": "32",
            "task": "detect", "head": "Detect", "imgsz": "[96, 160]", "names": "{0: 'cat', 1: \"dog's\"}",
        }
    )  # fmt: skip
    assert found == Metadata("detect", "Detect", ("cat", "dog's"), (160, 96))
    assert parse({"task": "pose", "kpt_shape": "[17, 3]"}).keypoints == (17, 3)
    assert parse({"task": "pose", "kpt_shape": "[0, 3]"}).keypoints is None


def test_reads_the_labels_of_yolov5_and_of_rapid_ai():
    assert parse({"stride": "32", "names": "['a', 'b']"}).labels == ("a", "b")
    assert parse({"character": "0\n90\n180\n270"}).labels == ("0", "90", "180", "270")
    assert parse({"character": "a\r\n \r\n\u3000\r\n"}).labels == ("a", " ", "\u3000")
    assert parse({"character": "a\n\nb"}).labels == parse({"character": "a\n\x1b\n"}).labels == ()


def test_reads_the_standard_metadata_of_images():
    found = parse({"Image.BitmapPixelFormat": "Bgr8", "Image.NominalPixelRange": "Normalized_0_1"})
    assert (found.color, found.scale) == ("bgr", 255)
    assert parse({"Image.NominalPixelRange": "NominalRange_0_255"}).scale == 1


@pytest.mark.parametrize(
    "names",
    [
        "{0: 'a', 2: 'b'}",
        "{'a': 0}",
        "{0: 'a', 1: 7}",
        "{0: ''}",
        "{0: 'line\\nbreak'}",
        "[]",
        "{",
        "__import__('os').getcwd()",
        "[" * 5000,
        "9" * 5000,
        "\0",
        "[" + "'a', " * 300_000 + "]",
    ],
)
def test_ignores_names_that_are_not_labels(names):
    assert parse({"names": names}).labels == ()


@pytest.mark.parametrize("size", ["160", "[160]", "[0, 160]", "[True, 160]", "['a', 'b']", "[1.5, 2]", ""])
def test_ignores_an_invalid_size(size):
    assert parse({"imgsz": size}).image_size is None


def test_ignores_a_task_that_is_not_a_word():
    assert parse({"task": "detect; rm -rf", "head": "a\nb"}) == Metadata()
