"""Results of a compiled model against those of its file: small YOLOs, public models, broken compilations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_app import cli
from edge_app.compiler import assemble, calibration_images, input_models, proof
from edge_app.compiler.assemble import Runner
from edge_app.compiler.input_models import InputModel, ModelOptions
from edge_app.errors import ConfigError, ModelError
from edge_app.model.schema import Input
from tests.compiler import yolos
from tests.compiler.graphs import classifier, segmenter

SMALL = {
    "v8": (yolos.ultralytics, {}),
    "v8 before 8.4": (yolos.ultralytics, {"joined": True}),
    "26 end to end": (yolos.ultralytics, {"end2end": True, "bins": 1}),
    "v5": (yolos.yolov5, {}),
    "v5 with grids": (yolos.yolov5, {"grids": True}),
    "v6": (yolos.yolov6, {}),
    "x": (yolos.yolox, {}),
    "x decoded": (yolos.yolox, {"decoded": True}),
    "x grids": (yolos.yolox, {"grids": True}),
    "FastestV2": (yolos.fastestv2, {"size": (192, 128)}),
    "FastestV2, channels first": (yolos.fastestv2, {"size": (192, 128), "first": True}),
    "FastestV2, logits": (yolos.fastestv2, {"size": (192, 128), "first": True, "logits": True}),
}


class Compiled:
    """A model before it is written. images: synthetic ones."""

    def __init__(self, path: Path, options: ModelOptions | None = None) -> None:
        self.models = input_models.read([path], options or ModelOptions())
        self.assembly = assemble.assemble(self.models, None, (4, 8, 16))
        self.runner = Runner.of(self.assembly)
        height, width = self.assembly.whole.inputs[0].shape[2:]
        self.images = calibration_images.synthetic(Input(width, height), 2)

    @property
    def model(self) -> InputModel:
        return self.models[0]

    def proved(self, model: InputModel | None = None) -> proof.HeadProof:
        models = [model or self.model]
        return proof.prove(models, self.runner, self.images, self.images.held_out)[self.model.name]

    def refused(self, model: InputModel | None = None) -> str:
        with pytest.raises(ModelError) as raised:
            self.proved(model)
        assert "\n" not in str(raised.value)
        return str(raised.value)


class Altered:
    """A runner whose outputs are changed after they are computed."""

    def __init__(self, runner: Runner, change) -> None:
        self.runner, self.change = runner, change

    def run(self, pixels):
        return {head: self.change(dict(outputs)) for head, outputs in self.runner.run(pixels).items()}


@pytest.mark.parametrize("name", SMALL)
def test_the_boxes_of_a_compiled_yolo_are_those_of_its_file(tmp_path, name):
    make, options = SMALL[name]
    labels = ModelOptions(labels=("a", "b", "c", "d", "e"))
    found = Compiled(make(tmp_path / "a.onnx", **options), labels).proved()
    assert found.boxes is not None
    assert found.boxes.matched == found.boxes.compared >= 50
    assert (found.error is None) == ("end to end" in name)


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        (yolos.yolov5, {"classes": 1}),
        (yolos.ultralytics, {"classes": 4, "bins": 1}),
        (yolos.ultralytics, {"end2end": True}),
        (yolos.yolox, {}),
    ],
)
def test_a_compiled_folder_can_be_compiled_again(tmp_path, make, settings):
    labels = tmp_path / "labels.txt"
    labels.write_text("".join(f"label{i}\n" for i in range(settings.get("classes", 5))))
    first, again = str(tmp_path / "first"), str(tmp_path / "again")
    model = str(make(tmp_path / "a.onnx", **settings))
    assert cli.main(["compile", model, "--labels", str(labels), "--out", first]) == 0
    assert cli.main(["compile", first, "--out", again]) == 0


def test_a_lost_anchor_is_rejected(tmp_path):
    compiled = Compiled(yolos.yolov5(tmp_path / "a.onnx"))
    assert compiled.proved().drawn is not None
    own = compiled.model.options["anchors"]
    for level, row in enumerate(own):
        for value in range(0, len(row), 2):
            wrong = [list(r) for r in own]
            wrong[level][value] *= 1.25
            model = replace(compiled.model, options={**compiled.model.options, "anchors": wrong})
            assert "boxes differ from those of the published file" in compiled.refused(model)


def test_lost_options_are_rejected(tmp_path):
    compiled = Compiled(yolos.yolov5(tmp_path / "a.onnx"))
    options = {name: value for name, value in compiled.model.options.items() if name != "anchors"}
    assert "boxes differ" in compiled.refused(replace(compiled.model, options=options))


@pytest.mark.parametrize("what", ["boxes", "scores"])
def test_outputs_in_another_order_are_rejected(tmp_path, what):
    compiled = Compiled(yolos.ultralytics(tmp_path / "a.onnx"))
    names = [name for name in compiled.model.net.outputs if name.startswith(what)]

    def change(outputs):
        return {name: array[:, ::-1].copy() if name in names else array for name, array in outputs.items()}

    compiled.runner = Altered(compiled.runner, change)
    assert "outputs differ from the published file" in compiled.refused()


def test_an_end_to_end_file_is_compared_by_its_boxes_alone(tmp_path):
    compiled = Compiled(yolos.ultralytics(tmp_path / "a.onnx", end2end=True))
    assert compiled.proved().error is None

    def change(outputs):
        return {name: array[:, ::-1].copy() if "scores" in name else array for name, array in outputs.items()}

    compiled.runner = Altered(compiled.runner, change)
    assert "boxes differ" in compiled.refused()


def test_the_tolerance_follows_the_noise_of_the_file(tmp_path):
    """One large factor that two roundings reach: the file's own outputs differ by more than 1e-4."""
    quiet = Compiled(classifier(tmp_path / "quiet.onnx")).proved()
    assert quiet.tolerance == proof.TOLERANCE
    assert quiet.noise < proof.TOLERANCE / proof.NOISE
    loud = Compiled(yolos.ultralytics(tmp_path / "loud.onnx", size=(320, 320), strides=(8, 16, 32))).proved()
    assert loud.tolerance == max(proof.TOLERANCE, proof.NOISE * loud.noise)


def test_class_scores_and_vectors_are_compared_as_values(tmp_path):
    compiled = Compiled(classifier(tmp_path / "a.onnx"))
    found = compiled.proved()
    assert (found.boxes, found.values) == (None, 10)
    assert found.warning() == ""
    compiled.runner = Altered(compiled.runner, lambda outputs: {k: v[:, ::-1].copy() for k, v in outputs.items()})
    assert "outputs differ" in compiled.refused()


def test_an_image_without_a_rule_is_left_out_and_the_others_are_compared_with_their_own_boxes(tmp_path, monkeypatch):
    compiled = Compiled(yolos.ultralytics(tmp_path / "a.onnx"))
    assert len(compiled.images.held_out) >= 2
    rule, calls = proof.reference.candidates, []

    def candidates(*arguments):
        calls.append(arguments)
        return None if len(calls) == 1 else rule(*arguments)

    monkeypatch.setattr(proof.reference, "candidates", candidates)
    found = compiled.proved()
    assert found.boxes.matched == found.boxes.compared >= 50


def test_class_maps_are_compared_at_the_size_of_the_output(tmp_path):
    compiled = Compiled(segmenter(tmp_path / "a.onnx"))
    found = compiled.proved()
    assert (found.boxes, found.values, found.cells[0]) == (None, 0, 2 * 8 * 8)
    assert found.text().startswith("classes of 128 cells equal")
    assert found.warning() == ""
    assert "decoded results were not compared" in replace(found, cells=(0, 0)).warning()


def test_says_what_was_not_compared(tmp_path):
    found = Compiled(segmenter(tmp_path / "a.onnx")).proved()
    nothing = replace(found, boxes=proof.BoxProof(), cells=(0, 0))
    assert "no box was compared" in nothing.warning()
    assert nothing.text().startswith("0 boxes compared")


def test_options_that_the_manifest_cannot_hold_are_rejected(tmp_path):
    model = Compiled(classifier(tmp_path / "a.onnx")).model
    with pytest.raises(ConfigError, match=r"heads\.a\.options\.top_k"):
        proof.written_options(replace(model, options={"top_k": 0}))


@pytest.mark.parametrize("name", ["v5own", "v5std"])
def test_own_anchors_of_the_real_exporter(data, name):
    found = Compiled(data / "exports" / f"{name}.onnx").proved()
    assert found.boxes is not None
    assert found.drawn is not None
    assert found.boxes.matched == found.boxes.compared >= 100
    assert found.drawn.matched == found.drawn.compared >= 1000


def test_rounding_is_not_an_error_of_the_compiler():
    a, b = np.array([[1.0, np.nan, np.inf]]), np.array([[1.0, np.nan, np.inf]])
    assert proof.largest_error([a], [b]) == 0
    assert proof.largest_error([a], [np.array([[1.0, 2.0, np.inf]])]) == np.inf
