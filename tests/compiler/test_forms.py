"""Layouts and types of models: channels last, integer pixels, float16, outputs without a batch, free sizes.

Each is read, split, and compared with the published file. Files of real exporters: exports/make.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edge_app.cli import main
from edge_app.compiler import assemble, calibration_images, input_models
from edge_app.compiler.input_models import InputModel, ModelOptions
from edge_app.compiler.net import Net
from edge_app.compiler.session import HostSession
from edge_app.errors import ModelError
from edge_app.model import manifest
from edge_app.model.schema import Input
from tests.compiler.graphs import Graph, classifier, trunk

EXPORTS = Path(__file__).parent / "exports"


def equal(path: Path, atol: float = 1e-4, **options) -> tuple[InputModel, assemble.Assembly]:
    """Compile one file in memory, and compare it with the published file on images."""
    (model,) = input_models.read([path], ModelOptions(**options))
    assembly = assemble.assemble([model], None, (4, 8, 16))
    height, width = assembly.whole.inputs[0].shape[2:]
    images = calibration_images.synthetic(Input(width, height, resize="stretch"))
    runner = assemble.Runner.of(assembly)
    for image in images.pixels:
        (found,) = runner.run(image).values()
        for expected, output in zip(model.run(image), found.values()):
            assert output.shape == expected.shape
            np.testing.assert_allclose(output, expected, atol=atol)
    return model, assembly


def ops(net: Net) -> list[str]:
    return sorted(node.op for node in net.nodes)


@pytest.mark.parametrize("name", ["torch_legacy", "torch_dynamo", "paddle", "tensorflow"])
def test_small_exports_of_each_framework_are_equal(name):
    options = {"input_size": (64, 64)} if name == "paddle" else {}
    _, assembly = equal(EXPORTS / f"{name}.onnx", **options)
    assert assembly.segments
    assert not {"Transpose", "Gather"} & set(ops(assembly.whole))


def test_a_segmenter_from_tensorflow_gives_maps_with_the_channels_first():
    model, assembly = equal(EXPORTS / "tensorflow.onnx")
    assert model.layouts == ("channels last",)
    assert model.family.name == "segment"
    assert assembly.whole.shapes()[assembly.whole.outputs[0]] == (1, 5, 16, 16)


def test_no_mean_is_assumed_where_the_graph_normalizes():
    model, _ = equal(EXPORTS / "tensorflow.onnx")
    assert (model.preprocessing.mean, model.preprocessing.std) == ((0, 0, 0), (1, 1, 1))
    model, _ = equal(EXPORTS / "torch_legacy.onnx")
    assert model.preprocessing.std != (1, 1, 1)


def channels_last(g: Graph, activation) -> str:
    """image (1, H, W, 3) -> Sub, Div of each channel -> convolutions -> a map (1, H, W, 4)."""
    x = g.node("Sub", "image", g.weight(np.array([123, 117, 104], np.float32)))
    x = g.node("Div", x, g.weight(np.array([[58, 57, 56]], np.float32)))
    x = g.conv(g.node("Transpose", x, perm=[0, 3, 1, 2]), 3, 8, stride=2)
    x = g.node("Mul", g.node("Transpose", x, perm=[0, 2, 3, 1]), g.weight(np.arange(8, dtype=np.float32)))
    x = g.node("Transpose", g.relu(x), perm=[0, 3, 1, 2])
    x = g.node("Transpose", g.conv(g.relu(g.conv(x, 8, 8, stride=2)), 8, 4), perm=[0, 2, 3, 1])
    return activation(x)


@pytest.mark.parametrize("op", ["Sigmoid", "Softmax", "Identity"])
def test_transposes_around_operations_cancel(tmp_path, op):
    g = Graph()
    y = channels_last(g, lambda x: g.node(op, x))
    model, assembly = equal(g.save(tmp_path / "a.onnx", {"scores": y}, shape=(1, 48, 64, 3)))
    assert not {"Transpose", "Gather"} & set(ops(assembly.whole)), "red and blue are swapped in the weights"
    assert model.layouts == ("channels last",)
    assert model.shape == (1, 48, 64, 3)


def test_the_mean_over_a_map_with_the_channels_last(tmp_path):
    g = Graph()
    x = g.node("Transpose", g.relu(g.conv(g.conv("image", 3, 8, stride=2), 8, 8)), perm=[0, 2, 3, 1])
    x = g.node("ReduceMean", x, axes=[1, 2], keepdims=0)
    y = g.node("Gemm", x, g.weight(g.rng.normal(size=(8, 5)).astype(np.float32)))
    _, assembly = equal(g.save(tmp_path / "a.onnx", {"scores": y}))
    assert "Transpose" not in ops(assembly.whole)


@pytest.mark.parametrize(("mode", "size"), [("SAME_UPPER", 64), ("SAME_LOWER", 65), ("VALID", 64)])
def test_auto_pad_becomes_pads(tmp_path, mode, size):
    g = Graph()
    w, v = (g.weight(g.rng.normal(size=(8, n, 3, 3)).astype(np.float32) * 0.1) for n in (3, 8))
    x = g.node("Conv", "image", w, auto_pad=mode, strides=[2, 2])
    x = g.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], auto_pad=mode)
    x = g.node("Conv", x, v, auto_pad=mode, strides=[2, 2])
    _, assembly = equal(g.save(tmp_path / "a.onnx", {"scores": x}, shape=(1, 3, size, size)))
    assert not any("auto_pad" in node.attrs for node in assembly.whole.nodes)


def integers(tmp_path, kind: int, to_float) -> Path:
    """A classifier on integer pixels (1, 64, 64, 3). to_float: from the graph and the planes to float planes."""
    g = Graph()
    x = g.relu(g.conv(to_float(g, g.node("Transpose", "image", perm=[0, 3, 1, 2])), 3, 8, stride=2))
    x = g.node("Flatten", g.node("GlobalAveragePool", g.conv(x, 8, 8, stride=2)))
    y = g.node("Gemm", x, g.weight(g.rng.normal(size=(8, 5)).astype(np.float32)))
    model = g.model({"scores": y}, shape=(1, 64, 64, 3))
    model.graph.input[0].type.tensor_type.elem_type = kind
    del model.graph.value_info[:]
    path = tmp_path / "a.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("kind", [TensorProto.UINT8, TensorProto.INT32, TensorProto.INT64])
def test_integer_pixels(tmp_path, kind):
    def to_float(g, x):
        return g.node("Mul", g.node("Cast", x, to=TensorProto.FLOAT), g.weight(np.float32(1 / 255)))

    model, _ = equal(integers(tmp_path, kind, to_float))
    assert model.preprocessing.std == (1, 1, 1)


@pytest.mark.parametrize(("kind", "zero"), [(TensorProto.UINT8, np.uint8(3)), (TensorProto.INT8, np.int8(-128))])
def test_quantized_pixels(tmp_path, kind, zero):
    def to_float(g, x):
        return g.node("DequantizeLinear", x, g.weight(np.float32(1 / 127)), g.weight(zero))

    model, _ = equal(integers(tmp_path, kind, to_float))
    assert model.preprocessing.mean[0] == (128 if kind == TensorProto.INT8 else 0)


def test_rejects_arithmetic_on_integer_pixels(tmp_path):
    def to_float(g, x):
        return g.node("Cast", g.node("Mul", x, g.weight(np.uint8(2))), to=TensorProto.FLOAT)

    with pytest.raises(ModelError, match="input 'image' is uint8 and used by Mul; expected a Cast to float"):
        equal(integers(tmp_path, TensorProto.UINT8, to_float))


def test_a_float16_model(tmp_path):
    g = Graph()
    x = g.node("Conv", "image", g.weight(g.rng.normal(size=(8, 3, 3, 3)).astype(np.float16)), strides=[2, 2])
    x = g.node("Flatten", g.node("GlobalAveragePool", g.relu(x)))
    y = g.node("Gemm", x, g.weight(g.rng.normal(size=(8, 5)).astype(np.float16)))
    model = g.model({"scores": y})
    for info in (*model.graph.input, *model.graph.output):
        info.type.tensor_type.elem_type = TensorProto.FLOAT16
    del model.graph.value_info[:]
    (tmp_path / "a.onnx").write_bytes(model.SerializeToString())
    _, assembly = equal(tmp_path / "a.onnx")
    assert {value.dtype for value in assembly.whole.values().values()} == {"float32"}


@pytest.mark.parametrize("by", ["Squeeze", "Gather", "Reshape"])
def test_outputs_without_a_batch_get_one(tmp_path, by):
    g = Graph()
    x = g.node("Softmax", g.node("Flatten", g.node("GlobalAveragePool", g.conv(g.conv("image", 3, 8), 8, 5))), axis=1)
    arguments = {"Squeeze": [np.array([0])], "Gather": [np.array(0)], "Reshape": [np.array([5])]}[by]
    y = g.node(by, x, *(g.weight(a.astype(np.int64)) for a in arguments))
    model, assembly = equal(g.save(tmp_path / "a.onnx", {"scores": y}))
    assert model.layouts == ("no batch",)
    assert model.family.name == "classify"
    assert assembly.whole.shapes()[assembly.whole.outputs[0]] == (1, 5)


def test_free_sizes_and_batch_are_fixed(tmp_path):
    path = classifier(tmp_path / "a.onnx")
    model = onnx.load(path)
    shape = model.graph.input[0].type.tensor_type.shape
    for position, name in ((0, "batch"), (2, "height"), (3, "width")):
        shape.dim[position].Clear()
        shape.dim[position].dim_param = name
    del model.graph.value_info[:]
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="has free sizes; expected --input WxH"):
        equal(path)
    _, assembly = equal(path, input_size=(96, 64))
    assert assembly.whole.inputs[0].shape == (1, 3, 64, 96)


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        ((3, 64, 64), "expected an image 1x3xHxW"),
        ((1, 1, 64, 64), "three color channels"),
        ((4, 3, 64, 64), "batch of 1"),
    ],
)
def test_rejects_inputs_that_are_not_a_color_image(tmp_path, shape, found):
    g = Graph()
    with pytest.raises(ModelError, match=rf"a\.onnx: input 'image' is float32 {'x'.join(map(str, shape))}; .*{found}"):
        equal(g.save(tmp_path / "a.onnx", {"y": g.relu("image")}, shape=shape))


def bad_files(folder: Path) -> dict[str, Path]:
    """Damaged and unsupported files, by the text of their error message."""
    base = classifier(folder / "good.onnx")
    files = {}

    def save(expected: str, name: str, change) -> None:
        model = onnx.load(base)
        change(model)
        files[expected] = folder / f"{name}.onnx"
        files[expected].write_bytes(model.SerializeToString())

    def two_images(model) -> None:
        model.graph.input.append(helper.make_tensor_value_info("second", TensorProto.FLOAT, [1, 3, 64, 64]))
        model.graph.node.append(helper.make_node("Relu", ["second"], ["other"]))

    def custom(model) -> None:
        model.graph.node[0].domain = "com.acme"

    def no_nodes(model) -> None:
        del model.graph.node[:]

    def no_outputs(model) -> None:
        del model.graph.output[:]

    save("found the inputs image, second; expected one image", "two", two_images)
    save("of the domain 'com.acme'; expected operators of ONNX", "custom", custom)
    save("contains no graph; expected an ONNX model", "empty", no_nodes)
    save("the graph has no outputs; expected at least one", "mute", no_outputs)
    onnx.save(onnx.load(base), folder / "cut.onnx", save_as_external_data=True, size_threshold=0, location="cut.bin")
    (folder / "cut.bin").write_bytes((folder / "cut.bin").read_bytes()[:50])
    files["external data 'cut.bin': is truncated: found 50 bytes; expected at least"] = folder / "cut.onnx"
    return files


def test_bad_files_are_reported_in_one_line_and_nothing_is_written(tmp_path, capsys):
    for expected, path in bad_files(tmp_path).items():
        before = sorted(tmp_path.rglob("*"))
        assert main(["compile", str(path), "--out", str(tmp_path / "out")]) == 2
        assert sorted(tmp_path.rglob("*")) == before
        lines = capsys.readouterr().err.replace("\r", "\n").strip().splitlines()
        assert lines[-1].startswith(f"{path}: "), lines[-1]
        assert expected in lines[-1]
        assert "Traceback" not in "".join(lines)


def test_a_classifier_is_assumed_to_take_the_center_of_the_image(tmp_path):
    path = classifier(tmp_path / "a.onnx")
    (model,) = input_models.read([path], ModelOptions())
    assert (model.recorded.resize, model.recorded.crop_fraction) == ("crop", 0.875)
    assert "resize crop (0.875 of the short side)" in model.assumed
    (model,) = input_models.read([path], ModelOptions(resize="stretch"))
    assert (model.recorded.resize, model.recorded.crop_fraction) == ("stretch", 1.0)
    (model,) = input_models.read([path], ModelOptions(crop_fraction=1.0))
    assert (model.recorded.resize, model.recorded.crop_fraction) == ("crop", 1.0)
    assert not any("resize" in text for text in model.assumed if "crop" not in text)


def test_a_cropped_input_is_written_and_read_again(tmp_path):
    out = tmp_path / "m"
    arguments = ["compile", str(classifier(tmp_path / "a.onnx")), "--out", str(out)]
    assert main([*arguments, "--resize", "crop", "--crop-fraction", "0.9"]) == 0
    assert manifest.load(out).input.crop_fraction == 0.9
    assert main(["compile", str(out), "--out", str(tmp_path / "again")]) == 0
    assert manifest.load(tmp_path / "again").input == manifest.load(out).input


@pytest.mark.parametrize(
    ("options", "found"),
    [(["--crop-fraction", "2"], "found '2'"), (["--crop-fraction", "0.5", "--resize", "stretch"], "--resize stretch")],
)
def test_rejects_invalid_options_of_a_crop(tmp_path, capsys, options, found):
    arguments = ["compile", str(classifier(tmp_path / "a.onnx")), "--out", str(tmp_path / "m")]
    assert main([*arguments, *options]) == 2
    assert found in capsys.readouterr().err.strip().splitlines()[-1]


def pooled(path: Path, opset: int, seed: int) -> Path:
    """A common trunk and a classifier whose ReduceMean has its axes as an attribute, or since opset 18 as an input."""
    g = Graph(0, opset=opset)
    x = trunk(g)
    g.rng = np.random.default_rng(seed)
    x = g.relu(g.conv(x, 16, 24, 1))
    if opset < 18:
        x = g.node("ReduceMean", x, axes=[2, 3], keepdims=0)
    else:
        x = g.node("ReduceMean", x, g.weight(np.array([2, 3])), keepdims=0)
    return g.save(path, {"scores": g.node("Gemm", x, g.weight(g.rng.normal(size=(24, 5)).astype(np.float32)))})


def test_models_of_different_opsets_share_a_backbone(tmp_path):
    models = input_models.read([pooled(tmp_path / "a.onnx", 13, 1), pooled(tmp_path / "b.onnx", 18, 2)], ModelOptions())
    assembly = assemble.assemble(models, None, (4, 8))
    assert assembly.segments
    image = calibration_images.synthetic(Input(64, 64, resize="stretch")).pixels[0]
    found = assemble.Runner.of(assembly).run(image)
    whole = HostSession(assembly.whole_on_pixels().serialize()).run(image[None])
    for model, joined in zip(models, whole):
        (expected,) = model.run(image)
        (apart,) = found[model.name].values()
        np.testing.assert_allclose(apart, expected, atol=1e-4)
        np.testing.assert_allclose(joined, expected, atol=1e-4)
