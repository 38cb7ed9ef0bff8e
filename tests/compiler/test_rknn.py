"""Parsing the converter's log, and reporting its failures. The real converter is tested in tests/system."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest

from edge_app.compiler import assemble, input_models, npu, rknn
from edge_app.compiler.compilation import Plan
from edge_app.compiler.input_models import ModelOptions
from edge_app.compiler.rknn import ConversionJob, Layer
from edge_app.errors import ConfigError, ModelError
from edge_app.model.schema import Memory
from tests.compiler.graphs import Graph, segmenter, trunk

ROWS = (
    "ID   OpType             DataType Target InputShape      OutputShape     Cycles(DDR/NPU/Total)    RW(KB)  FullName",
    "0    InputOperator      INT8     CPU    \\               (1,3,64,64)     0/0/0          0     InputOperator:image",
    "1    ConvRelu           INT8     NPU    (1,3,64,64),(8,3,3,3),(8)  (1,8,32,32)  309200/7/7  507  Conv:Conv_0",
    "2    ArgMax             INT8     CPU    (1,8,32,32)     (1,1,32,32)     0/0/0          8     ArgMax:best/channel",
    "3    OutputOperator     INT8     CPU    (1,1,32,32)     \\               0/0/0          8     OutputOperator:y",
    "3    OutputOperator y   INT8     NC1HWC2 (1,1,32,32)   (1,1,32,32,16)  | 0x00305bc0 0x00309c40 0x00004080",
    "Total Internal Memory Size: 1859KB",
    "Total Weight Memory Size: 2004.06KB",
)
LOG = "".join(f"D RKNN: [04:42:14.023] {row}\n" for row in ROWS)


def test_parses_the_layer_table():
    layers = rknn.parse_layer_table(LOG)
    assert [layer.target for layer in layers] == ["CPU", "NPU", "CPU", "CPU"]
    assert layers[1] == Layer("ConvRelu", "NPU", "Conv_0", ddr=309200, npu=7)
    assert layers[2] == Layer("ArgMax", "CPU", "best/channel")


def test_parses_the_memory_totals():
    assert rknn.parse_memory(LOG) == Memory(weights=round(2004.06 * 1024), internal=1859 * 1024)
    torn = LOG.replace("Size: 1859KB", "Size: compress=0, memory_plan_strategy=BestFit\n1859KB")
    assert rknn.parse_memory(torn) == rknn.parse_memory(LOG)
    with pytest.raises(ModelError, match="no total of internal memory"):
        rknn.parse_memory("nothing")


def converter(folder: Path, script: str) -> Path:
    """A shell script in place of the environment's Python; it gets the worker's arguments."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def job(target: str = "rv1106") -> ConversionJob:
    feature = np.zeros((2, 4, 8, 8), np.float32)
    return ConversionJob("backbone", b"graph", target, None, None, {"c8": feature}, {})


def test_a_layer_on_the_cpu_is_an_error_for_rv1106_with_a_workaround(tmp_path):
    python = converter(tmp_path, f"cat <<'E'\n{LOG}E\nexit 0")
    with pytest.raises(
        ModelError, match=r"layer 'best/channel' \(ArgMax\) would run on the CPU.*leave it to the head's decoder"
    ):
        rknn.convert(job(), python, tmp_path)


def test_reports_an_aborted_converter(tmp_path):
    python = converter(tmp_path, "kill -ABRT $$")
    with pytest.raises(
        ModelError, match=r"backbone for rv1106: the RKNN converter failed: it was aborted \(signal 6\)"
    ):
        rknn.convert(job(), python, tmp_path)


def test_passes_on_the_converters_message(tmp_path):
    result = tmp_path / "backbone.rv1106.result"
    python = converter(tmp_path, f'echo \'{{"problem": "build failed"}}\' > {result}; exit 1')
    with pytest.raises(ModelError, match="failed: build failed"):
        rknn.convert(job(), python, tmp_path)


def test_a_missing_converter_names_the_command_that_creates_it(tmp_path):
    with pytest.raises(ConfigError, match=r"found no RKNN converter; create it with: edge-app compile --setup-rknn"):
        rknn.environment(tmp_path / "absent")


def test_a_relative_environment_path_becomes_absolute(tmp_path, monkeypatch):
    (tmp_path / "converter/bin").mkdir(parents=True)
    (tmp_path / "converter/bin/python").touch()
    monkeypatch.chdir(tmp_path)
    assert rknn.environment(Path("converter")) == tmp_path / "converter/bin/python"


def test_an_environment_without_ruamel_yaml_names_the_command_that_completes_it(tmp_path):
    (tmp_path / "bin").mkdir()
    python = converter(tmp_path / "bin", "exit 1")
    with pytest.raises(ConfigError, match=rf"lacks ruamel.yaml; complete it with: .* --setup-rknn {tmp_path}"):
        rknn.check_ranges(python)


def test_completes_an_existing_environment(tmp_path):
    (tmp_path / "bin").mkdir()
    converter(tmp_path / "bin", f'echo "$@" >> {tmp_path}/log')
    said = []
    rknn.set_up(tmp_path, said.append)
    assert said == [f"{tmp_path}: completing the environment for rknn-toolkit2==2.5.0"]
    assert "-m pip install --quiet --no-deps rknn-toolkit2==2.5.0" in (tmp_path / "log").read_text()
    assert "ruamel.yaml" in (tmp_path / "log").read_text().splitlines()[-1]


def plan(*targets: str, **changes) -> Plan:
    return Plan((), Path(), ModelOptions(), ("onnx", *targets), **changes)


def test_npus_need_calibration():
    with pytest.raises(ConfigError, match="--target rv1106: NPUs compute in int8; expected --calibrate"):
        npu.check_targets(plan("rv1106"))


def test_float16_needs_no_calibration(tmp_path):
    with pytest.raises(ConfigError, match="found no RKNN converter"):
        npu.check_targets(plan("rk3588", npu_precision="float16", converter=tmp_path))


@pytest.mark.parametrize(("targets", "precision", "message"), [
    ((), "int16", "--precision int16: found no NPU among the targets; expected some of rv1103, rv1106"),
    (("rv1106", "rk3588"), "int16", "--precision int16: found the target rk3588; expected some of rv1103, rv1106"),
    (("rv1106",), "float16", "--precision float16: found the target rv1106; expected some of rk3562, rk3566, rk3576"),
])  # fmt: skip
def test_rejects_a_precision_that_the_target_lacks(targets, precision, message):
    with pytest.raises(ConfigError, match=message):
        npu.check_targets(plan(*targets, npu_precision=precision))


def test_parts_of_an_image_are_int8_only():
    with pytest.raises(ConfigError, match="int16: found with --npu-shapes; expected --precision int8"):
        npu.check_targets(plan("rv1106", npu_precision="int16", shapes=((64, 64),)))


def attention(folder: Path, name: str = "a.onnx") -> Path:
    """A segmenter whose map is multiplied by itself."""
    g = Graph()
    rows = g.reshape(g.conv(trunk(g), 16, 4, 1), 1, 4, 64)
    product = g.node("MatMul", g.node("MatMul", rows, g.node("Transpose", rows, perm=[0, 2, 1])), rows)
    return g.save(folder / name, {"mask": g.reshape(product, 1, 4, 8, 8)})


def conversion(path: Path, target: str, precision: str) -> npu.Conversion:
    assembly = assemble.assemble(input_models.read([path], ModelOptions("segment")), None, ())
    return npu.Conversion(target, Path(), path.parent, lambda step: None, assembly, (), precision)


def test_int16_rejects_a_product_of_two_activations_by_name(tmp_path):
    with pytest.raises(
        ModelError, match=r"layer '.+' \(MatMul\) multiplies two activations.*expected --precision int8"
    ):
        conversion(attention(tmp_path), "rv1106", "int16").run(None, ())


def test_names_the_more_exact_precision_that_a_model_can_use(tmp_path):
    plain, product = segmenter(tmp_path / "b.onnx"), attention(tmp_path)
    assert conversion(plain, "rv1106", "int8")._finer() == "int16"
    assert conversion(product, "rv1106", "int8")._finer() == ""
    assert conversion(product, "rk3588", "int8")._finer() == "float16"
    assert conversion(product, "rk3588", "float16")._finer() == ""


def test_lists_one_calibration_sample_per_line(tmp_path):
    images = np.arange(2 * 4 * 6 * 3, dtype=np.uint8).reshape(2, 4, 6, 3)
    described = ConversionJob("backbone", b"", "rv1106", (0, 0, 0), (1, 1, 1), {"image": images}, {})
    lines = rknn._dataset(described, f"{tmp_path}/x").splitlines()
    assert len(lines) == 2
    np.testing.assert_array_equal(np.load(lines[1]), images[1:].transpose(0, 3, 1, 2))


def test_the_npu_graph_takes_planes_and_the_assembly_has_mean_in_bgr(tmp_path):
    assembly = assemble.assemble(input_models.read([segmenter(tmp_path / "a.onnx")], ModelOptions()), None, ())
    (value,) = assembly.segments[0].inputs
    assert (value.shape, value.dtype) == ((1, 3, 64, 64), "float32")
    assert assembly.mean == (103.53, 116.28, 123.675)  # ImageNet's RGB mean, reversed
