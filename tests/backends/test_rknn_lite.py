"""rknn_lite against a fake rknnlite package. README.md lists what this does not prove."""

from __future__ import annotations

import gc
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from edge_app import registry
from edge_app.backends import rknn_lite
from edge_app.errors import BackendError, ConfigError, ModelError
from tests.backends.contract import Case, Contract
from tests.backends.rknn_files import FULL, MINI, Feature, Image, Output, expected, write
from tests.reuse import shaped

FAKE = Path(__file__).parent / "fake_rknnlite"


@pytest.fixture
def lite(monkeypatch):
    """The fake library, importable for this test only."""
    monkeypatch.syspath_prepend(str(FAKE))
    from rknnlite.api import RKNNLite

    monkeypatch.setattr(RKNNLite, "log", [])
    monkeypatch.setattr(RKNNLite, "reject_masks", False)
    yield RKNNLite
    for name in [name for name in sys.modules if name.split(".")[0] == "rknnlite"]:
        del sys.modules[name]


IMAGE = Image("image", 12, 20)
C8, C16 = Output("c8", 20, 6, 10), Output("c16", 33, 3, 5, zero=10, scale=0.012, gain=0.7)
Y = Output("y", 4, 6, 10, zero=-128, scale=0.02)
PICTURE = np.random.default_rng(1).integers(0, 256, (1, 12, 20, 3), dtype=np.uint8)


def rk3588(path, inputs, outputs, *extra, **changes):
    return write(path, inputs, outputs, *extra, **{"platforms": ("rk3588",), "format_": FULL, **changes})


class TestContract(Contract):
    @pytest.fixture
    def case(self, lite, tmp_path):
        pixels = PICTURE[0].transpose(2, 0, 1).astype(np.float32) / 255
        features = {o.name: expected(o, [pixels]) for o in (C8, C16)}
        first = rk3588(tmp_path / "first.rknn", [IMAGE], [C8, C16])
        second = rk3588(tmp_path / "second.rknn", [Feature("c8", 20, 6, 10), Feature("c16", 33, 3, 5)], [Y])
        y = expected(Y, [features["c8"][0], features["c16"][0]])
        return Case(rknn_lite.Backend(soc="rk3588"), first, second, PICTURE, features, y, tolerance=0.013)


def test_parts_in_fixed_shapes_are_bit_exact(lite, tmp_path):
    """Every map passes through the CPU. The fake uses no neighboring pixels and does not quantize inputs."""
    backend = rknn_lite.Backend(soc="rk3588", cores=1)
    shaped.assert_parts_equal_the_whole(shaped.on_a_fake(tmp_path, "rk3588", FULL), backend)
    backend.close()


def test_loads_one_instance_per_core(lite, tmp_path):
    backend = rknn_lite.Backend(soc="rk3588")
    backend.load(rk3588(tmp_path / "m.rknn", [IMAGE], [C8]))
    assert lite.log == [1, 2, 4]
    backend.close()


def test_uses_no_core_mask_on_a_soc_with_one_core(lite, tmp_path):
    lite.reject_masks = True
    backend = rknn_lite.Backend(soc="rk3568")
    assert backend.target == "rk3566"  # they have the same NPU
    backend.load(rk3588(tmp_path / "m.rknn", [IMAGE], [C8], platforms=("rk3566",)))
    assert lite.log == [None]


def test_rejects_more_cores_than_the_soc_has(lite):
    with pytest.raises(BackendError, match="cores: found 4; rk3588 has 3"):
        rknn_lite.Backend(soc="rk3588", cores=4)


def test_threads_share_a_session(lite, tmp_path):
    session = rknn_lite.Backend(soc="rk3588").load(rk3588(tmp_path / "m.rknn", [IMAGE], [C8]))
    expected_c8 = session.run({"image": PICTURE})["c8"]
    wrong = []

    def work():
        for _ in range(10):
            if not np.array_equal(session.run({"image": PICTURE})["c8"], expected_c8):
                wrong.append(1)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_collects_the_reference_cycles_that_the_library_leaks(lite, tmp_path):
    session = rknn_lite.Backend(soc="rk3588").load(rk3588(tmp_path / "m.rknn", [IMAGE], [C8]))
    gc.collect()
    gc.disable()  # so that only the backend collects below
    try:
        counts = []
        for i in range(6 * rknn_lite.COLLECT_EVERY):
            session.run({"image": PICTURE})
            if i % rknn_lite.COLLECT_EVERY == rknn_lite.COLLECT_EVERY - 1:
                counts.append(sum(isinstance(o, list) and len(o) == 3 and o[2] is o for o in gc.get_objects()))
    finally:
        gc.enable()
    assert counts == [0] * 6


def test_a_result_of_none_becomes_an_error(lite, tmp_path):
    session = rknn_lite.Backend(soc="rk3588").load(rk3588(tmp_path / "m.rknn", [IMAGE], [C8], "fail run -1"))
    with pytest.raises(BackendError, match="inference returned None"):
        session.run({"image": PICTURE})


def test_error_codes_become_errors(lite, tmp_path):
    graph = rk3588(tmp_path / "m.rknn", [IMAGE], [C8], "fail init -3")
    with pytest.raises(BackendError, match="init_runtime returned -3"):
        rknn_lite.Backend(soc="rk3588").load(graph)


@pytest.mark.parametrize(("changes", "message"), [
    ({"format_": MINI}, "compiled for RV1103 / RV1106"),
    ({"platforms": ("rk3566",)}, "compiled for rk3566; expected rk3588"),
])  # fmt: skip
def test_rejects_a_file_for_another_npu(lite, tmp_path, changes, message):
    with pytest.raises(ModelError, match=message):
        rknn_lite.Backend(soc="rk3588").load(rk3588(tmp_path / "m.rknn", [IMAGE], [C8], **changes))


def test_notes_a_runtime_that_is_older_than_the_converter(lite, tmp_path):
    backend = rknn_lite.Backend(soc="rk3588")
    backend.load(rk3588(tmp_path / "same.rknn", [IMAGE], [C8], version="2.3.0"))
    assert backend.notes == []
    backend.load(rk3588(tmp_path / "newer.rknn", [IMAGE], [C8], version="2.5.0"))
    assert "converted by 2.5.0, run by API: 2.3.2" in backend.notes[0]


def test_the_error_for_a_missing_library_names_the_extra():
    with pytest.raises(ConfigError, match=r"pip install 'rknn-toolkit-lite2"):
        registry.build("backends", "rknn_lite")


def test_a_machine_without_a_rockchip_soc_is_an_error(lite):
    with pytest.raises(BackendError, match="found no Rockchip SoC"):
        rknn_lite.Backend()
