from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_app.errors import ConfigError
from edge_app.slim.data import open_data
from edge_app.slim.recipe import HeadRecipe
from tests.slim import pictures

DETECT, CLASSIFY, SEGMENT = HeadRecipe("detect"), HeadRecipe("classify"), HeadRecipe("segment")


def test_yolo_boxes_are_read_in_fractions_of_the_picture(tmp_path):
    found = open_data(pictures.yolo(tmp_path), DETECT, 0.25)
    assert found.labels == ("blue", "red")
    assert len(found.train) + len(found.held_out) == 12
    example = next(e for e in found.train if e.classes[0] == 1)
    x1, y1, x2, y2 = np.rint(example.boxes[0] * pictures.SIDE).astype(int)
    inside = cv2.imread(str(example.path))[y1:y2, x1:x2]
    assert (inside == pictures.COLORS["red"]).all()


def test_coco_categories_are_numbered_by_their_ids(tmp_path):
    found = open_data(pictures.coco(tmp_path), DETECT, 0.0)
    assert found.labels == ("blue", "red")
    example = found.train[1]
    x1, y1, x2, y2 = np.rint(example.boxes[0] * pictures.SIDE).astype(int)
    assert example.classes.tolist() == [1]
    assert (cv2.imread(str(example.path))[y1:y2, x1:x2] == pictures.COLORS["red"]).all()


def test_folders_are_classes_and_hold_out_by_file_name(tmp_path):
    found = open_data(pictures.classes(tmp_path), CLASSIFY, 0.3)
    assert found.labels == ("blue", "green", "red")
    assert 3 <= len(found.held_out) <= 12
    again = open_data(tmp_path, CLASSIFY, 0.3)
    assert [e.path for e in again.held_out] == [e.path for e in found.held_out]
    assert again.fingerprint() == found.fingerprint()


def test_parts_of_classes_are_taken_as_they_are(tmp_path):
    pictures.classes(tmp_path / "train", 3)
    pictures.classes(tmp_path / "val", 2)
    found = open_data(tmp_path, CLASSIFY, 0.3)
    assert (len(found.train), len(found.held_out)) == (9, 6)


def test_masks_have_the_names_of_their_pictures(tmp_path):
    found = open_data(pictures.masks(tmp_path), SEGMENT, 0.0)
    assert found.labels == ("object",)
    assert all(e.mask is not None and e.mask.stem == e.path.stem for e in found.train)


def test_chosen_classes_are_renumbered_and_others_are_background(tmp_path):
    found = open_data(pictures.yolo(tmp_path), HeadRecipe("detect", classes=("red",)), 0.0)
    assert found.labels == ("red",)
    assert [e.classes.tolist() for e in found.train] == [[], [0]] * 6


def test_a_moved_folder_is_found(tmp_path):
    path = pictures.yolo(tmp_path)
    for written in ("../images/train2017", "images/train2017"):
        path.write_text(f"train: {written}\nval: images/val2017\nnames: [blue, red]\n")
        assert len(open_data(path, DETECT, 0.0).train) == 12


def test_the_polygon_of_a_label_gives_its_box(tmp_path):
    path = pictures.yolo(tmp_path)
    (tmp_path / "labels" / "00.txt").write_text("0 0.1 0.2 0.5 0.2 0.5 0.75 0.1 0.75\n")
    assert open_data(path, DETECT, 0.0).train[0].boxes[0].tolist() == pytest.approx([0.1, 0.2, 0.5, 0.75])


def corrupt(path: Path, text: str | bytes) -> Callable[[Path], None]:
    return lambda folder: (folder / path).write_bytes(text.encode() if isinstance(text, str) else text) and None


YOLO_MISTAKES = [
    ("labels/01.txt", "2 0.5 0.5 0.1 0.1\n", r"01\.txt:1: found class 2; expected 0 to 1"),
    ("labels/01.txt", "-1 0.5 0.5 0.1 0.1\n", r"found class -1; expected 0 to 1"),
    ("labels/01.txt", "\n1 0.5 0.5 0.1\n", r"01\.txt:2: found '1 0.5 0.5 0.1'; expected class, x, y, width, height"),
    ("labels/01.txt", "1 0.5 0.5 nan 0.1\n", r"expected class, x, y, width, height"),
    ("labels/01.txt", "1 50 50 10 10\n", r"found a box outside the picture"),
    ("labels/01.txt", "1 0.5 0.5 0 0.1\n", r"without area"),
    ("images/01.png", b"", r"01\.png: cannot be decoded; expected a complete picture"),
    ("images/01.png", b"no picture", r"01\.png: cannot be decoded"),
    ("data.yaml", "train: images\nnames: {0: blue, 2: red}\n", r"names: found no list of names"),
    ("data.yaml", "train: elsewhere\nnames: [blue, red]\n", r"found no folder '.*elsewhere'"),
    ("data.yaml", "train: images\nnames: [blue, red, green]\n", r"found no example of the class 'green'"),
    ("data.yaml", "train: [images\n", r"is not YAML"),
    ("data.yaml", "- 1\n", r"found no `names` and `train`"),
]


@pytest.mark.parametrize(("name", "content", "message"), YOLO_MISTAKES, ids=[row[2] for row in YOLO_MISTAKES])
def test_mistakes_in_yolo_data_are_one_line(tmp_path, name, content, message):
    path = pictures.yolo(tmp_path)
    corrupt(Path(name), content)(tmp_path)
    with pytest.raises(ConfigError, match=message) as caught:
        open_data(path, DETECT, 0.0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("change", "message"), [
    (lambda c: c["annotations"][2].update(category_id=4), "annotation 2: found category 4; expected one of"),
    (lambda c: c["annotations"][2].update(image_id=99), "annotation 2: found an image_id"),
    (lambda c: c["annotations"][2].update(bbox=[60, 0, 30, 9]), "annotation 2: found a box outside its picture"),
    (lambda c: c["annotations"][2].pop("bbox"), "an entry without a key"),
    (lambda c: c["images"][2].update(file_name="other.png"), "found no picture 'other.png'"),
    (lambda c: c.pop("categories"), "found no images, annotations, categories"),
])  # fmt: skip
def test_mistakes_in_coco_data_are_one_line(tmp_path, change, message):
    pictures.coco(tmp_path)
    path = tmp_path / "annotations" / "train.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=message) as caught:
        open_data(tmp_path, DETECT, 0.0)
    assert "\n" not in str(caught.value)


def test_an_empty_class_is_named(tmp_path):
    pictures.classes(tmp_path)
    (tmp_path / "yellow").mkdir()
    with pytest.raises(ConfigError, match="found no example of the class 'yellow'"):
        open_data(tmp_path, CLASSIFY, 0.0)


def test_mistakes_in_masks_are_one_line(tmp_path):
    pictures.masks(tmp_path)
    (tmp_path / "labels.txt").write_text("square\nround\n")
    cv2.imwrite(str(tmp_path / "masks" / "2.png"), np.full((64, 64), 7, np.uint8))
    with pytest.raises(ConfigError, match=r"2\.png: found class 7; expected 0 to 2, or 255"):
        open_data(tmp_path, SEGMENT, 0.0)
    (tmp_path / "masks" / "2.png").unlink()
    with pytest.raises(ConfigError, match=r"2\.png: found no mask"):
        open_data(tmp_path, SEGMENT, 0.0)


@pytest.mark.parametrize("head", [DETECT, CLASSIFY, SEGMENT], ids=lambda head: head.task)
def test_an_empty_folder_is_one_line(tmp_path, head):
    with pytest.raises(ConfigError, match="expected"):
        open_data(tmp_path, head, 0.0)
    with pytest.raises(ConfigError, match="expected the data to train on"):
        open_data(tmp_path / "absent", head, 0.0)


def test_an_unknown_class_names_those_that_exist(tmp_path):
    with pytest.raises(ConfigError, match="found no class 'pink'; expected one of blue, red"):
        open_data(pictures.yolo(tmp_path), HeadRecipe("detect", classes=("pink",)), 0.0)


def test_coco128_is_read(data):
    found = open_data(data / "coco128" / "data.yaml", HeadRecipe("detect", classes=("person",)), 0.1)
    assert len(found.train) + len(found.held_out) == 128
    assert sum(len(e.classes) for e in (*found.train, *found.held_out)) == 254
