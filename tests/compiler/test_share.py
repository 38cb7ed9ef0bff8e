"""Finding a shared backbone by computation, not by tensor names; errors for models that share nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edge_app.compiler import assemble, input_models
from edge_app.compiler.input_models import ModelOptions
from edge_app.compiler.session import HostSession, times_ms
from edge_app.errors import ModelError
from tests.compiler.graphs import Graph, classifier, segmenter

SAME = ModelOptions(mean=(0, 0, 0), std=(255, 255, 255), color="rgb", resize="stretch")


def shared(*paths: Path, given: ModelOptions = SAME):
    models = input_models.read(paths, given)
    return models, assemble.assemble(models, None, ())


def renamed(path: Path, out: Path) -> Path:
    """The same model with other tensor names."""
    model = onnx.load(path)
    keep = {"image", *(o.name for o in model.graph.output)}
    for node in model.graph.node:
        node.input[:] = [n if n in keep or not n else f"other_{n}" for n in node.input]
        node.output[:] = [n if n in keep else f"other_{n}" for n in node.output]
    for tensor in model.graph.initializer:
        tensor.name = f"other_{tensor.name}"
    del model.graph.value_info[:]
    onnx.save(model, out)
    return out


def test_two_models_with_one_backbone_share_it(tmp_path):
    a, b = classifier(tmp_path / "a.onnx"), renamed(segmenter(tmp_path / "s.onnx"), tmp_path / "b.onnx")
    models, assembly = shared(a, b)
    assert [feature.name for feature in assembly.features] == ["c8"]
    assert {name: [v.name for v in head.inputs] for name, head in assembly.heads.items()} == {"a": ["c8"], "b": ["c8"]}
    segments, heads = assembly.on_pixels()
    runner = assemble.Runner([n.serialize() for n in segments], {k: v.serialize() for k, v in heads.items()})
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    results = runner.run(picture)
    for model in models:
        (found,) = results[model.name].values()
        np.testing.assert_allclose(found, model.run(picture)[0], atol=1e-4)


def test_rejects_models_with_different_weights(tmp_path):
    paths = classifier(tmp_path / "a.onnx"), segmenter(tmp_path / "b.onnx", backbone_seed=5)
    with pytest.raises(ModelError, match="a and b share no layer: their first convolutions have different weights"):
        shared(*paths)


def test_rejects_models_with_different_layers(tmp_path):
    g = Graph()
    g.save(tmp_path / "b.onnx", {"y": g.node("Sigmoid", g.conv("image", 3, 4, 5))})
    with pytest.raises(ModelError, match="share no layer: their first convolutions are"):
        shared(classifier(tmp_path / "a.onnx"), tmp_path / "b.onnx")


def test_rejects_models_with_different_input_sizes(tmp_path):
    with pytest.raises(ModelError, match=r"cannot share a backbone: 64x64 .* and 96x96"):
        shared(classifier(tmp_path / "a.onnx"), segmenter(tmp_path / "b.onnx", size=96))


def test_rejects_models_with_different_preprocessing(tmp_path, monkeypatch):
    g = Graph()
    g.save(tmp_path / "b.onnx", {"scores": g.conv("image", 3, 6, 1), "boxes": g.conv("image", 3, 4, 1)})
    with pytest.raises(ModelError, match=r"a and b cannot share a backbone: .*mean \[123.675.* and .*mean \[0, 0, 0\]"):
        shared(classifier(tmp_path / "a.onnx"), tmp_path / "b.onnx", given=ModelOptions())


def twin(path: Path, out: Path) -> Path:
    """FastestDet with another head: everything after its last shared map is replaced by a new classification branch."""
    model = onnx.load(path)
    rng = np.random.default_rng(0)
    produced = {output: i for i, node in enumerate(model.graph.node) for output in node.output}
    cut = "onnx::Conv_712"  # where the published head begins
    nodes = list(model.graph.node)[: produced[cut] + 1]
    weights = [rng.normal(size=s).astype(np.float32) * 0.05 for s in ((96, 1, 5, 5), (6, 96, 1, 1))]
    nodes.append(helper.make_node("Conv", [cut, "tw0"], ["tw_a"], kernel_shape=[5, 5], pads=[2] * 4, group=96))
    nodes.append(helper.make_node("Relu", ["tw_a"], ["tw_b"]))
    nodes.append(helper.make_node("Conv", ["tw_b", "tw1"], ["twin"], kernel_shape=[1, 1]))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.initializer.extend(numpy_helper.from_array(w, f"tw{i}") for i, w in enumerate(weights))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("twin", onnx.TensorProto.FLOAT, [1, 6, 22, 22]))
    onnx.save(model, out)
    return out


def test_a_twin_of_fastestdet_shares_its_backbone_and_saves_time(data, tmp_path):
    paths = data / "FastestDet.onnx", twin(data / "FastestDet.onnx", tmp_path / "twin.onnx")
    given = ModelOptions(mean=(0, 0, 0), std=(255, 255, 255), color="bgr", resize="stretch")
    models, assembly = shared(*paths, given=given)
    assert {name: [v.name for v in head.inputs] for name, head in assembly.heads.items()} == {
        "fastestdet": ["c16"],
        "twin": ["c16"],
    }
    segments, heads = assembly.on_pixels()
    runner = assemble.Runner([n.serialize() for n in segments], {k: v.serialize() for k, v in heads.items()})
    picture = np.random.default_rng(0).integers(0, 256, (352, 352, 3), dtype=np.uint8)
    tail = HostSession(models[0].cut.tail.serialize())
    results = runner.run(picture)
    joined = tail.feed(dict(zip(tail.inputs, results["fastestdet"].values())))[0]
    for model, found in zip(models, (joined, results["twin"]["twin"])):
        expected = model.run(picture)[0]
        assert np.max(np.abs(found - expected) / np.maximum(1, np.abs(expected))) <= 1e-4
    fused = HostSession(assembly.whole_on_pixels().serialize())
    tensors = [model.prepared(picture) for model in models]
    times = times_ms(
        {
            "apart": lambda: [o.infer(t) for o, t in zip(models, tensors)],
            "shared, heads apart": lambda: runner.run(picture),
            "shared": lambda: fused.run(picture[None]),
        }
    )
    print(times, f"ratio {times['shared'] / times['apart']:.2f}")
    assert times["shared"] <= 0.6 * times["apart"], times
