"""ncnn: the contract of backends, free sizes, exact float32, damaged files."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edge_app.backends import Graph, TensorSpec
from edge_app.backends import _ncnn_param as param
from tests.backends.contract import Case, Contract, case_of_means

pytest.importorskip("ncnn", reason="needs the extra ncnn")
from edge_app.backends.ncnn import Backend
from edge_app.errors import BackendError, ConfigError, ModelError

IMAGE = (1, 8, 12, 3)


def save(path: Path, layers: str, inputs: dict, outputs: dict, weights: bytes = b"") -> Graph:
    """inputs, outputs: shape by blob; an input of shape (1, H, W, 3) takes pixels."""
    lines = layers.strip().splitlines()
    blobs = {blob for line in lines for blob in line.split()[4:] if "=" not in blob}
    text = "\n".join(["7767517", f"{len(lines)} {len(blobs)}", *lines, ""])

    def tensors(side):
        return tuple(
            param.Tensor(blob, TensorSpec(blob, shape, "uint8" if shape[3:] == (3,) else "float32"))
            for blob, shape in side.items()
        )

    path.write_text(param.with_tensors(text, tensors(inputs), tensors(outputs)))
    path.with_suffix(".bin").write_bytes(weights)
    return Graph(path, hashlib.sha256(path.read_bytes()).hexdigest())


def first(path: Path) -> Graph:
    """uint8 image -> c8 (1, 3, 8, 12), the image in 0..1; c16 (1, 3, 4, 6), its 2x2 means."""
    layers = """
Input image 0 1 image
BinaryOp div 1 1 image float 0=3 1=1 2=255.0
Split split 1 2 float c8 pooled
Pooling pool 1 1 pooled c16 0=1 1=2 2=2 5=1
"""
    return save(path, layers, {"image": IMAGE}, {"c8": (1, 3, 8, 12), "c16": (1, 3, 4, 6)})


def second(path: Path) -> Graph:
    """c8 and c16 -> y (1, 3, 1, 1), the sum of their means."""
    layers = """
Input c8 0 1 c8
Input c16 0 1 c16
Pooling a 1 1 c8 a 0=1 4=1
Pooling b 1 1 c16 b 0=1 4=1
BinaryOp add 2 1 a b y 0=0
"""
    return save(path, layers, {"c8": (1, 3, 8, 12), "c16": (1, 3, 4, 6)}, {"y": (1, 3, 1, 1)})


class TestContract(Contract):
    @pytest.fixture
    def case(self, tmp_path: Path) -> Case:
        return case_of_means(Backend(), first(tmp_path / "first.param"), second(tmp_path / "second.param"))


def test_a_graph_of_free_size_runs_on_every_size_and_keeps_no_old_result(tmp_path: Path):
    graph = save(
        tmp_path / "free.param",
        "Input x 0 1 x\nPooling pool 1 1 x y 0=1 1=2 2=2",
        {"x": (1, 3, None, None)},
        {"y": (1, 3, None, None)},
    )
    session = Backend().load(graph)
    assert session.inputs[0].shape == (1, 3, None, None)
    rng = np.random.default_rng(0)
    for high, wide in ((4, 6), (8, 2), (4, 6)):
        x = rng.random((1, 3, high, wide), np.float32)
        expected = x.reshape(1, 3, high // 2, 2, wide // 2, 2).mean((3, 5))
        np.testing.assert_allclose(session.run({"x": x})["y"], expected, atol=1e-6)
    with pytest.raises(BackendError, match=r"found float32\(1, 4, 4, 4\), expected float32\(1, 3, None, None\)"):
        session.run({"x": np.ones((1, 4, 4, 4), np.float32)})


def test_a_run_does_not_change_its_input(tmp_path: Path):
    """ncnn computes a ReLU in place."""
    graph = save(tmp_path / "a.param", "Input x 0 1 x\nReLU relu 1 1 x y", {"x": (1, 2, 4, 5)}, {"y": (1, 2, 4, 5)})
    session = Backend().load(graph)
    x = np.full((1, 2, 4, 5), -1, np.float32)
    for _ in range(2):
        np.testing.assert_array_equal(session.run({"x": x})["y"], np.zeros_like(x))
    np.testing.assert_array_equal(x, -1)


def test_stores_and_computes_in_float32(tmp_path: Path):
    """1 / 3 + 1000 has an error of 0.3 in half precision."""
    layers = "Input x 0 1 x\nConvolution conv 1 1 x y 0=16 1=1 5=1 6=256"
    weights = np.eye(16, dtype=np.float32)
    bias = np.full(16, 1000, np.float32)
    data = b"\0\0\0\0" + weights.tobytes() + bias.tobytes()
    session = Backend().load(save(tmp_path / "a.param", layers, {"x": (1, 16, 4, 4)}, {"y": (1, 16, 4, 4)}, data))
    x = np.full((1, 16, 4, 4), 1 / 3, np.float32)
    np.testing.assert_allclose(session.run({"x": x})["y"], x + 1000, rtol=1e-7)


def test_reports_the_memory_of_weights_and_input(tmp_path: Path):
    session = Backend().load(first(tmp_path / "first.param"))
    assert session.memory == (0, 0)
    session.run({"image": np.zeros(IMAGE, np.uint8)})
    assert session.memory == (0, 4 * 3 * 96)


def test_a_kept_output_cannot_be_used_after_close(tmp_path: Path):
    session = Backend().load(first(tmp_path / "first.param"), keep=("c8",))
    kept = session.run({"image": np.zeros(IMAGE, np.uint8)})["c8"]
    session.close()
    with pytest.raises(BackendError, match="'c8' has been released"):
        kept.array()


def test_rejects_int8():
    with pytest.raises(ConfigError, match=r"model\.precision: found int8; expected float"):
        Backend(precision="int8")


def test_is_available_for_models_with_ncnn_files():
    assert Backend.available({"onnx", "ncnn"})
    assert not Backend.available({"onnx"})


HAND_WRITTEN = """7767517
3 3
Input data 0 1 data 0=6 1=4 2=3
Pooling pool 1 1 data pooled 0=1 1=2 2=2
Sigmoid out 1 1 pooled out
"""


def test_a_hand_written_graph_states_its_input_and_its_outputs_are_probed(tmp_path: Path):
    (tmp_path / "a.param").write_text(HAND_WRITTEN)
    (tmp_path / "a.bin").write_bytes(b"")
    session = Backend().load(Graph(tmp_path / "a.param", None))
    assert session.inputs == (TensorSpec("data", (1, 3, 4, 6), "float32"),)
    assert session.outputs == (TensorSpec("out", (1, 3, 2, 3), "float32"),)
    np.testing.assert_allclose(session.run({"data": np.zeros((1, 3, 4, 6), np.float32)})["out"], 0.5)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0=6 1=4 2=3", "", r"Input 'data' states no size; expected 0=WIDTH 1=HEIGHT 2=CHANNELS"),
        ("7767517", "7767518", "starts with '7767518'; expected 7767517"),
        ("3 3\n", "4 3\n", "ends after 3 layers; expected 4"),
        ("3 3\n", "3 4\n", "make 3 blobs; expected 4"),
        ("3 3\n", "99999999 3\n", "expected the numbers of layers and blobs"),
        ("Sigmoid", "pnnx.Expression", "line 5: unknown layer type 'pnnx.Expression'"),
        ("1 1 pooled out", "1 1 data out", "line 5: blob 'data' is taken twice"),
        ("1 1 pooled out", "1 1 later out", "line 5: blob 'later' is not made by an earlier layer"),
        ("1=2 2=2", "1=two", "line 4: found '1=two'; expected key=value"),
        ("1=2 2=2", "99=2", "line 4: found the key 99"),
        ("1=2 2=2", "1=99999999999", "numbers of 32 bits"),
        ("1=2 2=2", "-23301=2,1", "line 4: an array of 1 values; expected 2"),
        ("Sigmoid out", "Sigmoid \N{SNOWMAN}", "is not text"),
    ],
)
def test_a_damaged_graph_is_one_line(tmp_path: Path, old: str, new: str, message: str, capfd):
    (tmp_path / "a.param").write_text(HAND_WRITTEN.replace(old, new, 1))
    (tmp_path / "a.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=message) as caught:
        Backend().load(Graph(tmp_path / "a.param", None))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_graph_that_ends_the_process_is_one_line(tmp_path: Path, capfd):
    """A Slice without sizes: the engine reads them from nowhere."""
    text = HAND_WRITTEN.replace("3 3\n", "3 5\n").replace("Sigmoid out 1 1 pooled out", "Slice s 1 3 pooled a b c")
    (tmp_path / "a.param").write_text(text)
    (tmp_path / "a.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=r"a\.param: not a graph that ncnn can run: Segmentation fault$"):
        Backend().load(Graph(tmp_path / "a.param", None))
    assert capfd.readouterr() == ("", "")


def test_truncated_weights_are_one_line(tmp_path: Path, capfd):
    layers = "Input x 0 1 x\nConvolution conv 1 1 x y 0=16 1=1 5=1 6=256"
    path = save(tmp_path / "a.param", layers, {"x": (1, 16, 4, 4)}, {"y": (1, 16, 4, 4)}, b"\0" * 200).path
    with pytest.raises(ModelError, match=r"a\.param: not a graph that ncnn can run: found 200 bytes") as caught:
        Backend().load(Graph(path, None))
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_reports_changed_or_missing_weights(tmp_path: Path):
    graph = first(tmp_path / "a.param")
    weights = tmp_path / "a.bin"
    changed = replace(graph, weights=Graph(weights, hashlib.sha256(b"other").hexdigest()))
    with pytest.raises(ModelError, match=r"a\.bin: sha256 is"):
        Backend().load(changed)
    weights.unlink()
    with pytest.raises(ModelError, match=r"a\.bin: cannot be read"):
        Backend().load(graph)


def test_a_graph_that_takes_a_kept_output_does_not_change_it(tmp_path: Path):
    shape = (1, 2, 4, 5)
    negate = save(tmp_path / "a.param", "Input x 0 1 x\nUnaryOp n 1 1 x y 0=1", {"x": shape}, {"y": shape})
    relu = save(tmp_path / "b.param", "Input y 0 1 y\nReLU relu 1 1 y z", {"y": shape}, {"z": shape})
    x = np.random.default_rng(0).random(shape, np.float32)
    kept = Backend().load(negate, keep=("y",)).run({"x": x})["y"]
    np.testing.assert_array_equal(Backend().load(relu).run({"y": kept})["z"], np.zeros(shape))
    np.testing.assert_array_equal(kept.array(), -x)
