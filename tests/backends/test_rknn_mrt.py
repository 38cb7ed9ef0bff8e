"""rknn_mrt against a fake librknnmrt, compiled from C by a fixture. README.md lists what this does not prove."""

from __future__ import annotations

import ctypes
import shutil
import statistics
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from edge_app.backends import _rknn_abi as abi
from edge_app.backends import _rknn_layout as layout
from edge_app.backends import _soc, rknn_mrt
from edge_app.errors import BackendError, ModelError
from tests.backends.contract import Case, Contract
from tests.backends.rknn_files import FULL, MINI, Feature, Feature16, Image, Output, Output16, expected, write
from tests.reuse import shaped

HERE = Path(__file__).parent


@pytest.fixture(scope="session")
def library(tmp_path_factory) -> str:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to build the fake librknnmrt with")
    path = tmp_path_factory.mktemp("fake") / "librknnmrt.so"
    command = [compiler, "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC"]
    subprocess.run([*command, "-o", str(path), str(HERE / "fake_rknnmrt.c"), "-lm"], check=True)
    return str(path)


@pytest.fixture
def fake(library):
    """The fake's counters. Checks at the end that every context and buffer has been released."""
    counters = ctypes.CDLL(library)
    yield counters
    assert counters.fake_live_contexts() == 0
    assert counters.fake_live_mems() == 0


@pytest.fixture
def backend(library, fake):
    backend = rknn_mrt.Backend(library=library, soc="rv1106")
    yield backend
    backend.close()


IMAGE = Image("image", 12, 20, row=32)
C8 = Output("c8", 20, 6, 10, zero=-20, scale=0.01, row=16)
C16 = Output("c16", 33, 3, 5, zero=10, scale=0.012, row=5, gain=0.7)
HEAD = (Feature("c8", 20, 6, 10, -20, 0.01), Feature("c16", 33, 3, 5, 10, 0.012))
Y = Output("y", 4, 6, 10, zero=-128, scale=0.02, row=11)
PICTURE = np.random.default_rng(1).integers(0, 256, (1, 12, 20, 3), dtype=np.uint8)


def real(picture):
    return picture[0].transpose(2, 0, 1).astype(np.float32) / 255


def case(backend, folder, *extra):
    features = {o.name: expected(o, [real(PICTURE)]) for o in (C8, C16)}
    y = expected(Y, [features["c8"][0], features["c16"][0]])
    first = write(folder / "first.rknn", [IMAGE], [C8, C16], *extra)
    second = write(folder / "second.rknn", HEAD, [Y], *extra)
    return Case(backend, first, second, PICTURE, features, y, tolerance=0.013)


class TestContract(Contract):
    @pytest.fixture
    def case(self, backend, tmp_path):
        return case(backend, tmp_path)


class TestContractWithoutNhwcOutputs(Contract):
    """The B variants reject query 11, so outputs are read from NC1HWC2."""

    @pytest.fixture
    def case(self, backend, tmp_path):
        return case(backend, tmp_path, "fail query11 -5")


@pytest.mark.parametrize("layout_of_outputs", [(), ("fail query11 -5",)])
@pytest.mark.parametrize("fl", [12, 9, -2])
def test_reads_int16_outputs_by_their_fraction_length(backend, tmp_path, layout_of_outputs, fl):
    """real = q * 2^-fl, in NHWC with padded rows and in NC1HWC2 with eight channels in a block."""
    output = Output16("y", 13, 6, 10, row=16, fl=fl, gain=0.4 if fl > 0 else 4000)
    session = backend.load(write(tmp_path / "m.rknn", [IMAGE], [output], *layout_of_outputs))
    result = session.run({"image": PICTURE})["y"]
    assert len(np.unique(result)) > 100
    np.testing.assert_allclose(result, expected(output, [real(PICTURE)]), atol=1.01 * 2.0**-fl / 2)


@pytest.mark.parametrize("fl", [12, 10])
def test_an_int16_feature_is_bound_or_quantized_by_its_fraction_length(backend, fake, tmp_path, fl):
    feature = Output16("c8", 13, 6, 10, row=10, fl=12)
    output = Output16("y", 5, 6, 10, row=10, fl=12)
    first = backend.load(write(tmp_path / "a.rknn", [IMAGE], [feature]), keep=("c8",))
    second = backend.load(write(tmp_path / "b.rknn", [Feature16("c8", 13, 6, 10, fl=fl)], [output]))
    second.run(first.run({"image": PICTURE}))
    syncs = fake.fake_syncs()
    result = second.run(first.run({"image": PICTURE}))["y"]
    assert fake.fake_syncs() == syncs + (2 if fl == 12 else 4)  # else read, quantized and written on the CPU
    values = expected(output, [expected(feature, [real(PICTURE)])[0]])
    np.testing.assert_allclose(result, values, atol=2.0**-fl)


def test_the_structs_have_the_documented_sizes_and_offsets():
    attr, mem, size = abi.TensorAttr, abi.TensorMem, abi.MemSize
    assert [ctypes.sizeof(s) for s in (abi.InputOutputNumber, attr, mem, abi.SdkVersion, size)] == [8, 376, 40, 512, 64]
    offsets = {"dims": 8, "name": 72, "n_elems": 328, "size": 332, "fmt": 336, "type": 340, "qnt_type": 344, "fl": 348}
    offsets |= {"zp": 352, "scale": 356, "w_stride": 360, "size_with_stride": 364, "pass_through": 368, "h_stride": 372}
    assert {name: getattr(attr, name).offset for name in offsets} == offsets
    offsets = {"virt_addr": 0, "phys_addr": 8, "fd": 16, "offset": 20, "size": 24, "flags": 28, "priv_data": 32}
    assert {name: getattr(mem, name).offset for name in offsets} == offsets
    assert size.dma_total.offset == 8


def test_a_kept_feature_is_bound_without_a_copy(backend, fake, tmp_path):
    files = case(backend, tmp_path)
    first, second = backend.load(files.first, keep=("c8", "c16")), backend.load(files.second)
    kept = first.run({"image": PICTURE})
    second.run(kept)
    binds, syncs = fake.fake_binds(), fake.fake_syncs()
    second.run(first.run({"image": PICTURE}))
    assert fake.fake_binds() == binds  # bound only once
    assert fake.fake_syncs() == syncs + 2  # one for the image, one for y, none for features


def test_a_feature_whose_scale_differs_by_rounding_is_bound(backend, fake, tmp_path):
    files = case(backend, tmp_path)
    near = (Feature("c8", 20, 6, 10, -20, 0.0100001), HEAD[1])
    first, second = (
        backend.load(files.first, keep=("c8", "c16")),
        backend.load(write(tmp_path / "near.rknn", near, [Y])),
    )
    second.run(first.run({"image": PICTURE}))
    syncs = fake.fake_syncs()
    np.testing.assert_allclose(second.run(first.run({"image": PICTURE}))["y"], files.y, atol=3 * files.tolerance)
    assert fake.fake_syncs() == syncs + 2


def test_a_feature_with_a_different_scale_is_requantized(backend, tmp_path):
    files = case(backend, tmp_path)
    coarse = (Feature("c8", 20, 6, 10, 5, 0.011), HEAD[1])
    second = backend.load(write(tmp_path / "coarse.rknn", coarse, [Y]))
    results = second.run(backend.load(files.first, keep=("c8", "c16")).run({"image": PICTURE}))
    np.testing.assert_allclose(results["y"], files.y, atol=0.04)


@pytest.mark.parametrize("depth", [3, 16, 33])
def test_dequantizing_and_quantizing_a_feature_is_lossless(depth):
    """With the same scale, and with a scale that differs by rounding in another conversion."""
    rng = np.random.default_rng(depth)
    stored = np.arange(-128, 128).repeat(16).astype(np.int8)
    for _ in range(50):
        scale, zero = np.float32(10 ** rng.uniform(-5, 2)), int(rng.integers(-128, 128))
        for other in (scale, np.float32(scale * (1 + 9e-4)), np.float32(scale * (1 - 9e-4))):
            rows = -(-stored.size // (16 * -(-depth // 16) * 16))
            source, target = (
                abi.TensorAttr(
                    n_dims=5, dims=(1, -(-depth // 16), rows, 16, 16), name=b"c8", fmt=abi.NC1HWC2, type=abi.INT8,
                    qnt_type=abi.QNT_AFFINE, zp=zero, scale=each,
                )
                for each in (scale, other)
            )  # fmt: skip
            assert layout.compatible(source, target)
            size = int(np.prod(source.dims[:5]))
            first, second = np.zeros(size, np.uint8), np.zeros(size, np.uint8)
            first[: stored.size] = stored.view(np.uint8)[:size]
            out = np.empty((1, depth, rows, 16), np.float32)
            layout.reader(out.shape, source, first, out)()
            layout.writer(out.shape, target, second)(out)
            again = np.empty_like(out)
            layout.reader(out.shape, source, second, again)()
            assert np.array_equal(out, again)


def test_parts_in_fixed_shapes_are_bit_exact(backend, tmp_path):
    """With the vendor's buffers and layouts; every map passes through the CPU. The fake uses no neighboring pixels."""
    shaped.assert_parts_equal_the_whole(shaped.on_a_fake(tmp_path, "rv1106", MINI), backend)


def test_a_handle_is_invalid_after_its_session_is_closed(backend, tmp_path):
    files = case(backend, tmp_path)
    first, second = backend.load(files.first, keep=("c8", "c16")), backend.load(files.second)
    kept = first.run({"image": PICTURE})
    first.close()
    with pytest.raises(BackendError, match="closed"):
        second.run(kept)
    with pytest.raises(BackendError, match="closed"):
        kept["c8"].array()


def test_the_npu_applies_mean_and_std(backend, tmp_path):
    image = Image("image", 4, 6, mean=127, std=128)
    output = Output("y", 3, 4, 6, scale=0.01)
    session = backend.load(write(tmp_path / "m.rknn", [image], [output]))
    picture = np.full((1, 4, 6, 3), 255, np.uint8)
    np.testing.assert_allclose(session.run({"image": picture})["y"], 1, atol=0.006)


@pytest.mark.parametrize(("call", "code", "message"), [
    ("init", -4, "MALLOC_FAIL"), ("init", -1, "driver is missing"), ("init", -13, "TARGET_PLATFORM_UNMATCH"),
    ("create_mem", -4, "cannot allocate .* bytes of NPU memory"),
])  # fmt: skip
def test_a_failed_load_is_reported_and_leaks_nothing(backend, tmp_path, call, code, message):
    graph = write(tmp_path / "m.rknn", [IMAGE], [C8], f"fail {call} {code}")
    with pytest.raises(BackendError, match=message):
        backend.load(graph)


def test_a_failed_run_is_reported(backend, tmp_path):
    session = backend.load(write(tmp_path / "m.rknn", [IMAGE], [C8], "fail run -2"))
    with pytest.raises(BackendError, match=r"rknn_run: TIMEOUT \(-2\)"):
        session.run({"image": PICTURE})


@pytest.mark.parametrize(("changes", "message"), [
    ({"format_": FULL}, "compiled for RK356x / RK3588"),
    ({"platforms": ("rk3588",)}, "compiled for rk3588; expected rv1106"),
])  # fmt: skip
def test_rejects_a_file_for_another_npu_before_loading_it(backend, tmp_path, changes, message):
    with pytest.raises(ModelError, match=message):
        backend.load(write(tmp_path / "m.rknn", [IMAGE], [C8], **changes))


def test_notes_a_runtime_that_is_older_than_the_converter(backend, tmp_path):
    backend.load(write(tmp_path / "same.rknn", [IMAGE], [C8], version="2.3.0"))
    assert backend.notes == []
    backend.load(write(tmp_path / "newer.rknn", [IMAGE], [C8], version="2.5.0"))
    assert "converted by 2.5.0, run by 2.3.2" in backend.notes[0]
    assert "2.3.2 (driver 0.9.8)" in backend.version


def test_reports_the_memory_of_weights_and_buffers(backend, tmp_path):
    weights, internal = backend.load(write(tmp_path / "m.rknn", [IMAGE], [C8])).memory
    assert internal == 2 * weights > 0


def test_rejects_a_file_that_is_not_the_runtime(tmp_path):
    text = tmp_path / "librknnmrt.so"
    text.write_text("not a library")
    for path in (str(text), "libc.so.6", str(tmp_path / "absent.so")):
        with pytest.raises(BackendError, match=r"expected the NPU runtime|is not the NPU runtime"):
            rknn_mrt.Backend(library=path, soc="rv1106")


def test_rejects_another_soc(library):
    with pytest.raises(BackendError, match="found the SoC 'rk3588'; this backend supports rv1103, rv1106"):
        rknn_mrt.Backend(library=library, soc="rk3588")


@pytest.mark.parametrize(("text", "soc"), [
    (b"rockchip,rv1106g-evb1-v11\0rockchip,rv1106\0", "rv1106"), (b"luckfox,pico-max\0rockchip,rv1106g3\0", "rv1106"),
    (b"radxa,rock-5b\0rockchip,rk3588\0", "rk3588"), (b"x,y\0rockchip,rv1126b\0", "rv1126b"),
    (b"raspberrypi,4\0", None),
])  # fmt: skip
def test_reads_the_soc_from_the_device_tree(tmp_path, text, soc):
    path = tmp_path / "compatible"
    path.write_bytes(text)
    assert _soc.detect(path) == soc


def test_overhead_over_the_library_is_below_a_millisecond(backend, tmp_path):
    """With a 320x320x3 input and the outputs of the digits model: time of `run` minus time of the library's run."""
    outputs = [Output("scores", 10, 40, 40, -100, 0.05), Output("boxes", 4, 40, 40, -128, 0.04)]
    outputs += [Output("mask", 1, 40, 40), Output("scene", 4, 1, 1)]
    graph = write(tmp_path / "digits.rknn", [Image("image", 320, 320)], outputs)
    session = backend.load(graph)
    picture = np.random.default_rng(0).integers(0, 256, (1, 320, 320, 3), dtype=np.uint8)
    library, context = session._library, session._context
    overheads = []
    for _ in range(15):
        start = time.perf_counter()
        session.run({"image": picture})
        middle = time.perf_counter()
        library.run(context)
        overheads.append((middle - start) - (time.perf_counter() - middle))
    print(f"median {1e3 * statistics.median(overheads):.3f} ms")
    assert statistics.median(overheads) < 1e-3, f"{1e3 * statistics.median(overheads):.2f} ms"
