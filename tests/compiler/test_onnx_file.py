"""Reading ONNX files of every form: equal outputs, and one-line errors for damaged and unsupported files."""

from __future__ import annotations

import os

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edge_app.compiler import onnx_file
from edge_app.compiler.session import HostSession
from edge_app.errors import ModelError
from tests.compiler.graphs import FLOAT, Graph, classifier

IMAGE = np.random.default_rng(0).normal(size=(1, 3, 64, 64)).astype(np.float32)


def saved(tmp_path, model: onnx.ModelProto):
    path = tmp_path / "a.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def graph_of(nodes, inputs, outputs, weights=(), opset=17, **options) -> onnx.ModelProto:
    """A model of nodes, with float outputs of unknown shape unless they are given as value infos."""
    infos = [helper.make_tensor_value_info(name, FLOAT, None) for name in outputs]
    graph = helper.make_graph(nodes, "test", inputs, infos, list(weights))
    domains = [helper.make_opsetid("", opset), *(helper.make_opsetid(n.domain, 1) for n in nodes if n.domain)]
    return helper.make_model(graph, opset_imports=domains, ir_version=8, **options)


def image_input(name="image", kind=FLOAT, shape=(1, 3, 8, 8)):
    return helper.make_tensor_value_info(name, kind, list(shape))


@pytest.mark.parametrize("content", [b"", b"no ONNX file at all", b"\x08\x08\x12\x00", b"\xff" * 64])
def test_rejects_a_file_that_is_not_onnx(tmp_path, content):
    path = tmp_path / "a.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=r"a\.onnx: (is not an ONNX file|contains no graph)"):
        onnx_file.read(path)


def test_rejects_a_truncated_file(tmp_path):
    path = classifier(tmp_path / "a.onnx")
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ModelError, match=r"a\.onnx: is not an ONNX file, or is truncated"):
        onnx_file.read(path)


def test_names_a_missing_file(tmp_path):
    with pytest.raises(ModelError, match="cannot be read: No such file"):
        onnx_file.read(tmp_path / "absent.onnx")


@pytest.mark.parametrize("opset", [9, 11, 12])
def test_converts_old_opsets_to_13(tmp_path, opset):
    g = Graph(opset=opset)
    x = g.node("Softmax", g.conv("image", 3, 4), axis=3)
    a, b = g.node("Split", x, outputs=2, axis=1, split=[1, 3])
    path = g.save(tmp_path / "a.onnx", {"a": a, "b": b}, shape=(1, 3, 8, 8), listed=True)
    read = onnx_file.read(path)
    assert read.opset == 13
    assert [value.name for value in read.inputs] == ["image"]
    image = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)
    feeds = {"image": image} | ({} if opset > 8 else g.weights)
    for expected, found in zip(HostSession(path.read_bytes()).feed(feeds), HostSession(read.serialize()).run(image)):
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("opset", [6, 23, 99])
def test_rejects_unsupported_opsets(tmp_path, opset):
    path = saved(tmp_path, Graph(opset=13).model({"y": "image"}))
    model = onnx.load(path)
    model.opset_import[0].version = opset
    with pytest.raises(ModelError, match=rf"a\.onnx: opset {opset}; expected 7 to 22"):
        onnx_file.read(saved(tmp_path, model))


@pytest.mark.parametrize("opset", [20, 21, 22])
def test_lowers_new_opsets_to_19(tmp_path, opset):
    g = Graph(opset=opset)
    x = g.node("Gelu", g.conv("image", 3, 8))
    if opset > 20:  # until then it scaled groups
        x = g.node("GroupNormalization", x, *(g.weight(np.full(8, n, np.float32)) for n in (2, 3)), num_groups=2)
    x = g.node("Add", g.node("HardSwish", x), g.node("Gelu", g.conv(x, 8, 8), approximate="tanh"))
    grid = g.weight(g.rng.uniform(-1, 1, (1, 8, 8, 2)).astype(np.float32))
    x = g.node("GridSample", x, grid, mode="linear", align_corners=0)
    path = saved(tmp_path, g.model({"y": x}, shape=(1, 3, 64, 64)))
    read = onnx_file.read(path)
    assert read.opset == 19
    (expected,), (found,) = HostSession(path.read_bytes()).run(IMAGE), HostSession(read.serialize()).run(IMAGE)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_rejects_an_operator_that_older_opsets_do_not_have(tmp_path):
    node = helper.make_node("StringConcat", ["image", "image"], ["y"])
    with pytest.raises(ModelError, match=r"a\.onnx: operator 'StringConcat' as in opset 20 cannot be expressed in 19"):
        onnx_file.read(saved(tmp_path, graph_of([node], [image_input()], ["y"], opset=20)))


@pytest.mark.parametrize("mode", [b"\xff\xfe", 3])
def test_rejects_an_invalid_mode_of_grid_sample(tmp_path, mode):
    grid = numpy_helper.from_array(np.zeros((1, 8, 8, 2), np.float32), "grid")
    node = helper.make_node("GridSample", ["image", "grid"], ["y"], mode=mode)
    path = saved(tmp_path, graph_of([node], [image_input()], ["y"], [grid], opset=20))
    with pytest.raises(ModelError, match=r"not valid ONNX|onnxruntime cannot load"):
        HostSession(onnx_file.read(path).serialize())


def external(tmp_path, location="b.bin"):
    """A model with its weights in another file."""
    model = onnx.load(classifier(tmp_path / "whole.onnx"))
    onnx.save(model, tmp_path / "b.onnx", save_as_external_data=True, size_threshold=0, location="b.bin")
    model = onnx.load(tmp_path / "b.onnx", load_external_data=False)
    if location != "b.bin":
        for tensor in model.graph.initializer:
            tensor.external_data[0].value = location
        (tmp_path / "b.onnx").write_bytes(model.SerializeToString())
    return tmp_path / "b.onnx"


def test_reads_weights_from_another_file(tmp_path):
    path = external(tmp_path)
    file = onnx_file.load(path)
    (expected,) = HostSession((tmp_path / "whole.onnx").read_bytes()).run(IMAGE)
    for data in (file.data, file.net.serialize()):
        np.testing.assert_array_equal(HostSession(data).run(IMAGE)[0], expected)


@pytest.mark.parametrize("left", [0, 1, 1000])
def test_rejects_truncated_external_data(tmp_path, left):
    path = external(tmp_path)
    os.truncate(tmp_path / "b.bin", left)
    with pytest.raises(
        ModelError, match=rf"external data 'b\.bin': is truncated: found {left} bytes; expected at least"
    ):
        onnx_file.load(path)


@pytest.mark.parametrize("location", ["/etc/passwd", "../b.bin", "", "a\0b", "sub/../../b.bin"])
def test_rejects_external_data_outside_the_folder(tmp_path, location):
    path = external(tmp_path, location)
    with pytest.raises(ModelError, match="is not inside the model's folder"):
        onnx_file.load(path)


def test_rejects_external_data_that_is_a_link_to_a_file_outside_the_folder(tmp_path):
    (tmp_path / "model").mkdir()
    path = external(tmp_path / "model")
    (tmp_path / "model" / "b.bin").rename(tmp_path / "b.bin")
    (tmp_path / "model" / "b.bin").symlink_to(tmp_path / "b.bin")
    with pytest.raises(ModelError, match="Is a link to a file outside the folder"):
        onnx_file.load(path)


def test_rejects_external_data_that_is_not_a_regular_file(tmp_path):
    path = external(tmp_path)
    (tmp_path / "b.bin").unlink()
    with pytest.raises(ModelError, match="No such file"):
        onnx_file.load(path)
    os.mkfifo(tmp_path / "b.bin")
    with pytest.raises(ModelError, match="named pipe"):
        onnx_file.load(path)


@pytest.mark.parametrize(
    ("key", "value"), [("offset", "-1"), ("offset", "1e9"), ("length", "7"), ("offset", "9" * 30), ("offset", "999999")]
)
def test_rejects_invalid_offsets_of_external_data(tmp_path, key, value):
    path = external(tmp_path)
    model = onnx.load(path, load_external_data=False)
    entry = next(e for e in model.graph.initializer[0].external_data if e.key == key)
    entry.value = value
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"b\.onnx: external data 'b\.bin': .*; expected "):
        onnx_file.load(path)


def test_limits_external_data_by_size(tmp_path, monkeypatch):
    path = external(tmp_path)
    monkeypatch.setattr(onnx_file, "MAX_GRAPH", path.stat().st_size + 100)
    with pytest.raises(ModelError, match="Is larger than 100 bytes"):
        onnx_file.load(path)


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.FLOAT])
def test_a_float16_model_is_computed_in_float32(tmp_path, kind):
    """kind: of the image; exporters write float16 weights with either."""
    g = Graph()
    x = "image" if kind == TensorProto.FLOAT16 else g.node("Cast", "image", to=TensorProto.FLOAT16)
    w = g.weight(g.rng.normal(size=(4, 3, 3, 3)).astype(np.float16))
    x = g.node("Mul", g.node("Conv", x, w), g.weight(np.float16(0.5)))
    y = g.node("Cast", x, to=TensorProto.FLOAT) if kind == TensorProto.FLOAT else x
    model = g.model({"y": y})
    model.graph.input[0].type.tensor_type.elem_type = kind
    del model.graph.value_info[:]
    model.graph.output[0].type.tensor_type.elem_type = kind
    path = saved(tmp_path, model)
    file = onnx_file.load(path)
    assert file.widened
    assert [value.dtype for value in file.net.inputs] == ["float32"]
    assert {node.op for node in file.net.nodes} == {"Conv", "Mul", "Identity"}
    dtype = np.float16 if kind == TensorProto.FLOAT16 else np.float32
    (expected,) = HostSession(path.read_bytes()).run(IMAGE.astype(dtype))
    for data in (file.data, file.net.serialize()):
        (found,) = HostSession(data).run(IMAGE)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=2e-2)


def test_inlines_local_functions(tmp_path):
    body = [helper.make_node("Relu", ["x"], ["y"])]
    function = helper.make_function("pkg", "Own", ["x"], ["y"], body, [helper.make_opsetid("", 17)])
    model = graph_of(
        [helper.make_node("Own", ["image"], ["y"], domain="pkg")], [image_input()], ["y"], functions=[function]
    )
    assert [node.op for node in onnx_file.read(saved(tmp_path, model)).nodes] == ["Relu"]


def test_rejects_a_custom_domain(tmp_path):
    model = graph_of([helper.make_node("Own", ["image"], ["y"], domain="com.acme")], [image_input()], ["y"])
    with pytest.raises(
        ModelError, match=r"a\.onnx: operator 'Own' of the domain 'com\.acme'; expected operators of ONNX"
    ):
        onnx_file.read(saved(tmp_path, model))


def test_rejects_an_unknown_operator(tmp_path):
    model = graph_of([helper.make_node("Own", ["image"], ["y"])], [image_input()], ["y"])
    with pytest.raises(ModelError, match=r"operator 'Own' is not in opset 17"):
        onnx_file.read(saved(tmp_path, model))


def branch(condition, nodes, inputs, weights):
    """`If condition: Relu else: Neg`."""
    parts = [
        helper.make_graph(
            [helper.make_node(op, ["image"], [out])], out, [], [helper.make_tensor_value_info(out, FLOAT, None)]
        )
        for op, out in (("Relu", "a"), ("Neg", "b"))
    ]
    node = helper.make_node("If", [condition], ["y"], then_branch=parts[0], else_branch=parts[1])
    return graph_of([*nodes, node], inputs, ["y"], weights)


def test_folds_a_branch_with_a_constant_condition(tmp_path):
    model = branch("c", [], [image_input()], [numpy_helper.from_array(np.array(False), "c")])
    assert [node.op for node in onnx_file.read(saved(tmp_path, model)).nodes] == ["Neg"]


def test_rejects_control_flow(tmp_path):
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["m"], keepdims=0),
        helper.make_node("Cast", ["m"], ["c"], to=TensorProto.BOOL),
    ]
    with pytest.raises(ModelError, match=r"a\.onnx: contains If: control flow is not supported"):
        onnx_file.read(saved(tmp_path, branch("c", nodes, [image_input()], [])))


def test_rejects_a_graph_without_outputs_or_operations(tmp_path):
    relu = helper.make_node("Relu", ["image"], ["y"])
    with pytest.raises(ModelError, match="the graph has no outputs"):
        onnx_file.read(saved(tmp_path, graph_of([relu], [image_input()], [])))
    with pytest.raises(ModelError, match="contains no graph"):
        onnx_file.read(saved(tmp_path, graph_of([], [image_input()], ["y"])))
    with pytest.raises(ModelError, match="no operation leads to an output"):
        onnx_file.read(saved(tmp_path, graph_of([relu], [image_input()], ["image"])))


def test_rejects_graphs_without_an_input_and_inputs_that_are_not_an_image(tmp_path):
    add = helper.make_node("Add", ["image", "other"], ["y"])
    constant = [numpy_helper.from_array(np.zeros(2, np.float32), name) for name in ("image", "other")]
    with pytest.raises(ModelError, match="found the inputs none; expected one image"):
        onnx_file.read(saved(tmp_path, graph_of([add], [], ["y"], constant)))
    copy = helper.make_node("Identity", ["image"], ["y"])
    with pytest.raises(ModelError, match="input 'image' is string; expected an image"):
        onnx_file.read(saved(tmp_path, graph_of([copy], [image_input(kind=TensorProto.STRING)], ["y"])))


def test_rejects_weights_that_do_not_fit_their_shape(tmp_path):
    model = onnx.load(classifier(tmp_path / "a.onnx"))
    model.graph.initializer[0].dims[0] += 1
    with pytest.raises(ModelError, match="the data of 'w0' do not fit its shape"):
        onnx_file.read(saved(tmp_path, model))


@pytest.mark.parametrize("seed", range(4))
def test_a_damaged_file_is_read_or_rejected_in_one_line(tmp_path, seed):
    """Random bytes changed, dropped and added, mostly where the structure is."""
    rng = np.random.default_rng(seed)
    whole = classifier(tmp_path / "a.onnx").read_bytes()
    for _ in range(60):
        data = bytearray(whole)
        for _ in range(rng.integers(1, 5)):
            at = int(rng.integers(0, len(whole) if rng.random() < 0.5 else 600))
            data[at : at + int(rng.integers(0, 3))] = rng.bytes(int(rng.integers(0, 3)))
        problem = ""
        try:
            onnx_file.load(tmp_path / "a.onnx", bytes(data))
        except ModelError as exc:
            problem = str(exc)
        assert "\n" not in problem


def test_replaces_text_that_is_not_utf_8(tmp_path):
    """protobuf returns it as bytes, in names, attributes and metadata alike."""
    node = helper.make_node("Relu", ["image"], ["found"], name="A NAME")
    model = graph_of([node], [image_input()], ["found"])
    helper.set_model_props(model, {"key": "A NAME"})
    data = model.SerializeToString().replace(b"A NAME", b"\xff\xfeNAME")
    read = onnx_file.load(tmp_path / "a.onnx", data)
    assert [each.op for each in read.net.nodes] == ["Relu"]
    repaired = onnx.load_from_string(read.data)
    assert repaired.graph.node[0].name == repaired.metadata_props[0].value == "\ufffd\ufffdNAME"
    with pytest.raises(ModelError, match="Rel"):
        onnx_file.load(tmp_path / "a.onnx", data.replace(b"Relu", b"Rel\xff"))


def test_rejects_an_input_of_an_unknown_type(tmp_path):
    model = graph_of([helper.make_node("Relu", ["image"], ["found"])], [image_input()], ["found"])
    model.graph.input[0].type.tensor_type.elem_type = 64
    with pytest.raises(ModelError, match="input 'image' is of the unknown type 64"):
        onnx_file.load(tmp_path / "a.onnx", model.SerializeToString())
