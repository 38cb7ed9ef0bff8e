"""Segments in several shapes, and the equality check. The real converter is tested in tests/system."""

from __future__ import annotations

import numpy as np
import pytest

from edge_app.compiler import assemble, frontend, input_models, npu_shapes
from edge_app.compiler.input_models import ModelOptions
from edge_app.compiler.rknn import ConvertedGraph
from edge_app.compiler.session import HostSession
from edge_app.errors import ConfigError, ModelError
from edge_app.model.schema import Memory
from tests.compiler.graphs import segmenter

WHOLE = (128, 128)


@pytest.fixture
def assembly(tmp_path):
    return assemble.assemble(
        input_models.read([segmenter(tmp_path / "a.onnx", size=128)], ModelOptions()), None, (4, 8)
    )


class Converter:
    """Runs graphs in onnxruntime. It rounds outputs, whose last bits depend on the shape.

    wrong: added to the outputs of parts.
    """

    def __init__(self, assembly, wrong=0.0):
        self.assembly, self.wrong = assembly, wrong
        self.input_shapes = {}

    def __call__(self, name, net, calibration, feeds):
        assert all(len(array) == 1 and array.shape[1:] == feeds[key].shape[1:] for key, array in calibration.items())
        self.input_shapes[name] = {value.name: value.shape for value in net.inputs}
        image = [value.name for value in net.inputs] == [frontend.IMAGE]
        session = HostSession(
            (frontend.with_pixels(net, self.assembly.mean, self.assembly.std) if image else net).serialize()
        )
        count = len(next(iter(feeds.values())))
        rows = [session.feed({key: array[i : i + 1] for key, array in feeds.items()}) for i in range(count)]
        wrong = self.wrong if "x" in name else 0.0
        outputs = tuple(np.round(np.concatenate(each) * 32) / 32 + np.float32(wrong) for each in zip(*rows))
        return ConvertedGraph(b"", Memory(0, 0), outputs, ())


def converted(assembly, converter, sizes):
    maps = {frontend.IMAGE: np.random.default_rng(0).integers(0, 256, (1, 128, 128, 3), dtype=np.uint8)}
    for segment in (*npu_shapes.segments(assembly), *npu_shapes.heads(assembly)):
        inputs = {value.name: maps[value.name] for value in segment.net.inputs}
        whole = converter(segment.name, segment.net, inputs, inputs)
        maps |= dict(zip(segment.net.outputs, whole.outputs))
        yield segment, npu_shapes.convert_shapes(segment, (WHOLE, whole), sizes, maps, converter)


def test_converts_and_checks_every_segment_in_every_size(assembly):
    converter = Converter(assembly)
    found = {segment.name: shapes for segment, shapes in converted(assembly, converter, [(48, 64), (96, 96)])}
    assert set(found) == {"backbone0", "backbone1", "a"}
    assert all(list(shapes.files) == [WHOLE, (48, 64), (96, 96)] for shapes in found.values())
    assert converter.input_shapes["backbone0.48x64"] == {"image": (1, 3, 64, 48)}
    assert [shape[2:] for shape in converter.input_shapes["backbone1.96x96"].values()] == [(24, 24)]
    assert converter.input_shapes["a.48x64"] == {"c8": (1, 16, 8, 6)}
    assert found["backbone0"].boxes == 12  # six in each size
    assert all(shapes.boxes >= 6 for shapes in found.values())


def test_a_part_that_differs_from_the_whole_is_an_error(assembly):
    with pytest.raises(ModelError, match=r"backbone0: .* of the part .* differs from the whole image by up to"):
        list(converted(assembly, Converter(assembly, wrong=1 / 32), [(64, 64)]))


@pytest.mark.parametrize("size", [(40, 64), (128, 128), (64, 144)])
def test_rejects_a_size_that_does_not_fit_the_image(assembly, size):
    with pytest.raises(ConfigError, match=f"--npu-shapes: found {size[0]}x{size[1]} for 128x128; expected sides that"):
        npu_shapes.check([size], WHOLE, assembly)


def test_a_side_may_be_that_of_the_image(assembly):
    npu_shapes.check([(128, 32), (16, 128), (64, 64)], WHOLE, assembly)
