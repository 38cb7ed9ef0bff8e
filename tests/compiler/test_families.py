"""Recognizing the model family, and the errors if there is none."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_app.compiler import families, input_models, metadata, onnx_file
from edge_app.compiler.families import Preprocessing, Requested
from edge_app.compiler.input_models import ModelOptions
from edge_app.errors import ConfigError, ModelError
from edge_app.geometry.boxes import fit
from tests.compiler.graphs import Graph, classifier, segmenter
from tests.compiler.outputs import cells, random, save
from tests.compiler.yolos import ultralytics


def recognized(path, **given) -> input_models.InputModel:
    (found,) = input_models.read([path], ModelOptions(**given))
    return found


@pytest.mark.parametrize(("file", "family", "outputs", "labels"), [
    ("FastestDet.onnx", "fastestdet", ["objectness", "boxes", "classes"], "coco80"),
    ("nanodet_m.onnx", "nanodet", ["792", "814", "836", "795", "817", "839"], "coco80"),
    ("version-RFB-320.onnx", "ultraface", ["logits", "deltas"], ("face",)),
])  # fmt: skip
def test_recognizes_public_models(data, file, family, outputs, labels):
    found = recognized(data / file)
    assert (found.family.name, found.net.outputs, found.labels) == (family, outputs, labels)
    assert found.family.why
    assert any(text.startswith("mean") for text in found.assumed)


def test_distinguishes_classifiers_and_segmenters(tmp_path):
    assert recognized(classifier(tmp_path / "a.onnx")).family.name == "classify"
    assert recognized(segmenter(tmp_path / "b.onnx")).family.name == "segment"


def test_recognizes_an_embedding_by_its_final_normalization(tmp_path):
    g = Graph()
    x = g.node("Flatten", g.node("GlobalAveragePool", g.conv("image", 3, 8)), axis=1)
    length = g.node("ReduceL2", x, axes=[1], keepdims=1)
    g.save(tmp_path / "a.onnx", {"vector": g.node("Div", x, length)})
    assert recognized(tmp_path / "a.onnx").family.name == "embed"


def test_cuts_a_yolo_at_its_grids(tmp_path):
    found = recognized(ultralytics(tmp_path / "a.onnx", classes=80))
    assert found.family.name == "yolo"
    assert found.net.outputs == ["boxes0", "scores0", "boxes1", "scores1", "boxes2", "scores2"]
    assert found.preprocessing.color == "rgb"


def test_options_override_the_family(tmp_path):
    found = recognized(classifier(tmp_path / "a.onnx"), family="embed", mean=(1, 2, 3), color="bgr")
    assert (found.family.name, found.family.why) == ("embed", "given by --family")
    assert (found.preprocessing.mean, found.preprocessing.color) == ((1, 2, 3), "bgr")
    assert not any(text.startswith(("mean", "color")) for text in found.assumed)


def test_rejects_outputs_that_no_family_can_decode(tmp_path):
    g = Graph()
    g.save(tmp_path / "a.onnx", {f"o{i}": g.conv("image", 3, 5 + i) for i in range(5)})
    with pytest.raises(ModelError, match=r"a: no known family has the outputs o0 .*--family"):
        recognized(tmp_path / "a.onnx")


def test_rejects_a_given_family_that_cannot_decode_the_outputs(tmp_path):
    with pytest.raises(ModelError, match="family 'yunet' cannot decode"):
        recognized(classifier(tmp_path / "a.onnx"), family="yunet")
    with pytest.raises(ConfigError, match="--family: found 'yollo'; expected one of"):
        recognized(classifier(tmp_path / "a.onnx"), family="yollo")


def test_uses_the_declared_shape_of_an_output_until_it_can_be_inferred(tmp_path):
    g = Graph()
    x = g.node("GlobalAveragePool", g.conv("image", 3, 8, stride=2))
    shape = g.node("Cast", g.node("Shape", x), to=TensorProto.INT32)
    ints = [g.weight(np.array([n], np.int32)) for n in (0, 1)]
    batch = g.node("Cast", g.node("Slice", shape, *ints), to=TensorProto.INT64)
    x = g.node("Reshape", x, g.node("Concat", batch, g.weight(np.array([8])), axis=0))
    y = g.node("Softmax", g.node("MatMul", x, g.weight(g.rng.normal(size=(8, 5)).astype(np.float32))), axis=-1)
    model = g.model({"y": y}, shape=("n", 3, "h", "w"))
    del model.graph.value_info[:]
    model.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 5]))
    onnx.save(model, tmp_path / "a.onnx")
    found = recognized(tmp_path / "a.onnx", input_size=(64, 32))
    assert found.family.name == "classify"
    assert found.net.shapes()[found.net.outputs[0]] == (1, 5)


def test_a_free_input_size_needs_the_input_option(tmp_path):
    g = Graph()
    g.save(tmp_path / "a.onnx", {"y": g.conv("image", 3, 4)}, shape=(1, 3, "h", "w"))
    with pytest.raises(ModelError, match=r"a\.onnx: input 'image' .* has free sizes; expected --input WxH"):
        recognized(tmp_path / "a.onnx")
    assert recognized(tmp_path / "a.onnx", input_size=(48, 32)).net.inputs[0].shape == (1, 3, 32, 48)


def test_accepts_nhwc_input(tmp_path):
    g = Graph()
    planes = g.node("Transpose", "image", perm=[0, 3, 1, 2])
    g.save(tmp_path / "a.onnx", {"y": g.conv(planes, 3, 4)}, shape=(1, 32, 48, 3))
    found = recognized(tmp_path / "a.onnx")
    assert found.net.inputs[0].shape == (1, 3, 32, 48)
    assert [node.op for node in found.net.nodes] == ["Conv"]


def test_cutting_a_tail_sets_the_options_of_the_decoder(data):
    assert recognized(data / "version-RFB-320.onnx").options == {"boxes": "deltas"}
    spec = families.head_spec(recognized(data / "version-RFB-320.onnx").net, "faces", "ultraface", ("face",))
    assert spec.input_size == (320, 240)


PUBLIC = {
    "landmarks_68_pfld.onnx": "landmarks",
    "mobilefacenet.onnx": "a vector that may be an embedding or class scores",
    "exports/avg7.onnx": "a vector that may be an embedding or class scores",
    "exports/gdconv.onnx": "a vector that may be an embedding or class scores",
}
SEVEN = ("cat", "dog", "bird", "horse", "cup", "car", "person")
DETECTORS = ("v5u", "v8", "v10", "v11", "v26", "v10_e2e", "v26_e2e", "v8_dynamic", "v8_opset20", "v8_p2", "v8_rect")


CELLS = 64 + 16 + 4


def test_rejects_another_number_of_keypoints_than_the_metadata_says(tmp_path):
    known = {"task": "pose", "names": "{0: 'person'}", "kpt_shape": "[16, 3]"}
    path = save(tmp_path / "a.onnx", {"y": random(1, 4 + 1 + 51, CELLS)}, metadata=known)
    with pytest.raises(ModelError, match=r"found 1 labels, the graph has 4 classes beside 48 values of keypoints"):
        recognized(path)


def test_rejects_prototypes_of_another_size(tmp_path):
    outputs = {"boxes": random(1, 4 + 7 + 32, CELLS, high=60), "masks": random(1, 32, 15, 15)}
    path = save(tmp_path / "a.onnx", outputs, metadata={"task": "segment"})
    with pytest.raises(ModelError, match=r"the mask prototypes 'masks' have 15x15 cells; expected one for each 4x4"):
        recognized(path)


def test_recognizes_a_detr_of_ultralytics(tmp_path):
    rows = random(1, 300, 6)
    rows[..., 5] = 1
    for known in ({"head": "RTDETRDecoder"}, {"description": "Ultralytics rtdetr-l model"}):
        path = save(tmp_path / "a.onnx", {"y": rows}, metadata={"task": "detect", **known})
        assert recognized(path).family.name == "detr"


TASKS = {
    "v8_pose": "pose",
    "v26_pose_e2e": "pose",
    "v11_obb": "obb",
    "v26_seg": "instances",
    "v26_seg_e2e": "instances",
}


def verdict(path) -> families.Family:
    """The family of a file alone, without cutting its tail."""
    net = onnx_file.load(path).net
    known = metadata.parse(net.metadata)
    families.check_task(path.stem, known, Requested())  # at once; what follows takes a second
    whole, _ = input_models._canonical(input_models._sized(net, ModelOptions(), path.name))
    return families.recognize(whole, known, Requested())


@pytest.mark.parametrize("file", PUBLIC)
def test_names_public_models_that_are_not_supported(data, file):
    with pytest.raises(ModelError, match=f": {PUBLIC[file]}"):
        verdict(data / file)


@pytest.mark.parametrize(
    "name", ["v11_obb", *(pytest.param(name, marks=pytest.mark.system) for name in TASKS if name != "v11_obb")]
)
def test_recognizes_the_tasks_of_ultralytics_by_their_metadata(data, name):
    found = verdict(data / "exports" / f"{name}.onnx")
    assert (found.name, found.options) == (TASKS[name], {"keypoints": (17, 3)} if TASKS[name] == "pose" else {})
    assert found.labels


@pytest.mark.parametrize(
    "name", ["v8_rect", *(pytest.param(name, marks=pytest.mark.system) for name in DETECTORS if name != "v8_rect")]
)
def test_the_metadata_of_a_public_detector_has_its_family_and_labels(data, name):
    found = verdict(data / f"exports/{name}.onnx")
    assert (found.name, found.labels, found.why) == ("yolo", SEVEN, "its metadata: task detect")
    assert (found.preprocessing.std, found.preprocessing.resize) == ((255, 255, 255), "letterbox")


def test_the_metadata_of_a_public_classifier_has_its_preprocessing(data):
    found = verdict(data / "exports/v8_cls.onnx")
    assert (found.name, found.labels) == ("classify", (*SEVEN, "bus", "boat"))
    assert found.preprocessing == Preprocessing("rgb", (0, 0, 0), (255, 255, 255), "crop")


def test_public_yolos_without_metadata(data):
    assert verdict(data / "exports/v5own.onnx").labels == "coco80"
    fastest = verdict(data / "yolofastestv2.onnx")
    assert (fastest.name, fastest.labels) == ("yolo", "coco80")
    assert (fastest.preprocessing.color, fastest.preprocessing.resize) == ("bgr", "stretch")


def table(classes: int, rows: int = cells(64, 8, 16, 32), objectness: bool = False) -> np.ndarray:
    """(1, rows, 4 [+ 1] + classes): boxes in pixels, and probabilities."""
    boxes = random(1, rows, 4, low=8, high=40)
    return np.concatenate([boxes, random(1, rows, classes + objectness, seed=1)], axis=2)


def test_an_ambiguous_table_needs_the_version(tmp_path):
    """YOLOX with two classes, or a YOLOv8 with three."""
    path = save(tmp_path / "a.onnx", {"y": table(3)})
    with pytest.raises(
        ModelError, match=r"a: several YOLO formats .*; expected --version v8 or --version x or --labels"
    ):
        recognized(path)
    assert recognized(path, head={"version": "v8"}).options["version"] == "v8"
    assert recognized(path, labels=("a", "b", "c")).labels == ("a", "b", "c")


def yolox(path, logits: bool = False):
    """YOLOX starts by taking every second pixel, four times. Its boxes are offsets from cells."""
    g = Graph(opset=17)
    ends, axes, steps = (g.weight(np.array(v, np.int64)) for v in ([64, 64], [2, 3], [2, 2]))
    starts = [g.weight(np.array(v, np.int64)) for v in ([0, 0], [1, 0], [0, 1], [1, 1])]
    x = g.node("Concat", *(g.node("Slice", "image", start, ends, axes, steps) for start in starts), axis=1)
    zero = g.node("Round", g.node("Mul", g.node("ReduceMean", x, keepdims=0), g.weight(np.array(1e-6, np.float32))))
    scores = random(1, 84, 3, low=-6, high=2) if logits else random(1, 84, 3)
    values = np.concatenate([random(1, 84, 4), scores], axis=2)
    return g.save(path, {"y": g.node("Add", g.weight(values), zero)})


def test_four_slices_at_the_input_are_yolox(tmp_path):
    found = recognized(yolox(tmp_path / "a.onnx"))
    assert found.options["version"] == "x"
    assert (found.preprocessing.color, found.preprocessing.std) == ("bgr", (1, 1, 1))


def test_the_raw_scores_of_a_yolox_get_a_sigmoid(tmp_path):
    found = recognized(yolox(tmp_path / "a.onnx", logits=True))
    assert found.options["version"] == "x"
    result = families.build(found.net, "yolo", {**found.options, "score": 0.1}, ()).decode(
        {"y": random(1, 84, 7, low=-6, high=2)}, fit((64, 64), (64, 64), "stretch")
    )
    assert len(result) > 0
    assert result.score.max() < 1


def test_the_raw_scores_of_a_yolox_with_other_first_layers_get_a_sigmoid(tmp_path):
    """Only --version says that it is a YOLOX."""
    values = np.concatenate([random(1, 84, 4), random(1, 84, 3, high=3)], axis=2)
    path = save(tmp_path / "a.onnx", {"y": values})
    assert recognized(path, head={"version": "x"}).options["activation"] == "apply"


@pytest.mark.parametrize("anchors", [4, 5])
def test_a_table_with_more_than_three_anchors_a_cell_is_yolov5(tmp_path, anchors):
    values = np.concatenate([60 * random(1, 84 * anchors, 4), random(1, 84 * anchors, 8)], axis=2)
    found = recognized(save(tmp_path / "a.onnx", {"y": values}))
    assert found.family.name == "yolo"
    head = families.build(found.net, "yolo", {**found.options, "score": 0.0, "nms_iou": 1.0}, ())
    result = head.decode({"y": values}, fit((64, 64), (64, 64), "stretch"))
    best = (values[0, :, 4] * values[0, :, 5:].max(axis=1)).max()
    assert result.score[0] == pytest.approx(best)
    assert result.class_id.max() == 6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": {"version": "v5"}}, "--version: found 'v5'; expected none: the family 'classify' has no such option"),
        ({"head": {"activation": "relu"}}, "--activation: found 'relu'; expected auto or softmax or sigmoid or none"),
        ({"family": "yollo"}, "--family: found 'yollo'; expected one of .*classify, "),
    ],
)
def test_options_that_do_not_fit_are_reported(tmp_path, options, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        recognized(classifier(tmp_path / "a.onnx"), **options)


def test_a_nanodet_of_one_class_is_not_a_mediapipe_detector(tmp_path):
    rows = cells(64, 8, 16, 32, 64)
    path = save(tmp_path / "a.onnx", {"scores": random(1, rows, 1), "boxes": random(1, rows, 32, low=-2)})
    assert recognized(path).family.name == "nanodet"


def test_options_of_the_head_are_recorded(tmp_path):
    found = recognized(classifier(tmp_path / "a.onnx"), head={"activation": "sigmoid"})
    assert found.options == {"activation": "sigmoid"}


def test_a_set_of_labels_is_read_before_its_number_is_compared(tmp_path):
    found = recognized(classifier(tmp_path / "a.onnx", classes=80), labels="coco80")
    assert (found.family.name, found.labels) == ("classify", "coco80")
    with pytest.raises(ConfigError, match=r"^--labels: found 80 labels, the graph has 5 classes; expected one label"):
        recognized(classifier(tmp_path / "b.onnx"), labels="coco80")


def test_guessed_labels_that_do_not_fit_are_dropped(tmp_path):
    """Metadata with names for another number of classes; 85 columns that are not 80 classes."""
    path = save(tmp_path / "a.onnx", {"y": random(1, 5)}, last="Softmax", metadata={"names": "['a', 'b']"})
    assert recognized(path).labels == ()
    path = save(tmp_path / "b.onnx", {"y": table(81, cells(128, 8, 16, 32))}, size=(128, 128))
    assert recognized(path, head={"version": "v8"}).labels == ()


def test_a_family_for_another_task_than_the_metadata_says_is_reported(tmp_path):
    path = save(tmp_path / "a.onnx", {"y": table(3)}, metadata={"task": "pose"})
    with pytest.raises(ConfigError, match=r"^--family: found 'yolo', but the model is for the task 'pose'"):
        recognized(path, family="yolo")
    path = save(tmp_path / "b.onnx", {"y": random(1, 3)}, metadata={"task": "classify"})
    with pytest.raises(ConfigError, match=r"; expected classify$"):
        recognized(path, family="embed")


def test_probabilities_of_a_classifier_stay_as_they_are(tmp_path):
    path = save(tmp_path / "a.onnx", {"y": random(1, 5, low=-3)}, last="Sigmoid")
    assert recognized(path).options == {"activation": "none"}
    assert recognized(path).family.why == "one vector of class probabilities"
    path = save(tmp_path / "b.onnx", {"y": random(1, 1, low=-3)})
    assert recognized(path, family="classify").options == {"activation": "sigmoid"}


def test_usual_preprocessing_of_classifiers_is_that_of_torchvision(tmp_path):
    found = recognized(classifier(tmp_path / "a.onnx"))
    assert (found.preprocessing.resize, found.preprocessing.crop_fraction) == ("crop", 0.875)
    assert any("crop" in text for text in found.assumed)


def test_the_metadata_of_the_image_sets_the_preprocessing(tmp_path):
    given = {"Image.BitmapPixelFormat": "Bgr8", "Image.NominalPixelRange": "NominalRange_0_255"}
    found = recognized(save(tmp_path / "a.onnx", {"y": random(1, 5)}, last="Softmax", metadata=given))
    assert (found.preprocessing.color, found.preprocessing.mean, found.preprocessing.std) == ("bgr", (0,) * 3, (1,) * 3)


def test_a_family_without_a_network_is_named_in_one_line(tmp_path):
    path = save(tmp_path / "a.onnx", {"y": random(1, 4)})
    with pytest.raises(
        ConfigError, match=r"^--family: found 'codes', which has no network; expected it in config.yaml"
    ):
        input_models.read([path], ModelOptions(family="codes"))
