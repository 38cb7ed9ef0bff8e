"""A model compiled for ncnn (tests/backends/ncnn_model): golden vectors, whole and in parts, and reuse on boxes."""

from __future__ import annotations

import importlib.util
import shutil
from contextlib import ExitStack, closing

import numpy as np
import pytest

from edge_app.config import HeadCommon, HeadConfig, ModelConfig
from edge_app.config.reuse import ReuseConfig
from edge_app.errors import ModelError
from edge_app.inference.engine import open_backend
from edge_app.inference.golden import golden_error
from edge_app.inference.stage import Inference
from edge_app.model import manifest
from edge_app.reuse.costs import Cost, Costs
from edge_app.reuse.loader import open_features
from edge_app.reuse.profile import ReuseProfile
from tests.conftest import PROJECT
from tests.reuse.models import picture

pytest.importorskip("ncnn", reason="needs the extra ncnn")
MODEL, DIGITS = PROJECT / "tests/backends/ncnn_model", PROJECT / "models/digits"


def opened(folder, backend="ncnn", **options):
    loaded = manifest.load(folder)
    heads = {name: HeadConfig(HeadCommon(), spec.options) for name, spec in loaded.heads.items()}
    return Inference(loaded, open_backend(loaded, ModelConfig(folder, backend)), heads, **options)


@pytest.mark.parametrize("fused", [True, False])
def test_golden_vectors_are_equal(fused):
    with closing(opened(MODEL, fused=fused)) as inference, np.load(MODEL / "golden.npz") as golden:
        for image, expected in zip(golden["image"], golden["small/map"]):
            found = inference.outputs(image[None])["small"]["map"]
            assert golden_error(expected[None], found) <= 1e-4


def test_every_file_is_listed_with_its_weights():
    loaded = manifest.load(MODEL)
    assert loaded.targets() == {"onnx", "ncnn"}
    assert {"backbone0.ncnn.param", "backbone0.ncnn.bin"} <= set(loaded.files())
    assert set(loaded.files()) | {"golden.npz"} == set(loaded.sha256)
    assert loaded.memory["fused.ncnn.param"].weights == (MODEL / "fused.ncnn.bin").stat().st_size


def test_changed_weights_are_rejected(tmp_path):
    folder = tmp_path / "ncnn_model"
    shutil.copytree(MODEL, folder)
    data = bytearray((folder / "fused.ncnn.bin").read_bytes())
    data[100] ^= 1
    (folder / "fused.ncnn.bin").write_bytes(data)
    with pytest.raises(ModelError, match=r"fused\.ncnn\.bin: sha256 is"):
        opened(folder)


def test_an_unlisted_weights_file_is_a_mistake_in_the_manifest(tmp_path):
    folder = tmp_path / "ncnn_model"
    shutil.copytree(MODEL, folder)
    text = (folder / "model.yaml").read_text()
    (folder / "model.yaml").write_text(text.replace("fused.ncnn.bin:", "other.ncnn.bin:"))
    with pytest.raises(ModelError, match=r"sha256: 'fused\.ncnn\.bin' is not listed"):
        manifest.load(folder)


def test_an_update_in_boxes_equals_a_full_run():
    loaded = manifest.load(MODEL)
    backend = open_backend(loaded, ModelConfig(MODEL, "ncnn"))
    rng = np.random.default_rng(0)
    with ExitStack() as stack:
        settings = ReuseConfig(mode="auto", tolerance=0)
        part, full = (open_features(loaded, backend, loaded.heads, settings, ReuseProfile()) for _ in range(2))
        for features in (part, full):
            assert features is not None
            stack.callback(features.close)
        part.costs = Costs(1.0, {name: Cost(0.0, 1.0) for name in part.costs.segments})  # any part pays
        image = picture(0, (96, 96))
        part.fill(image[None])
        for turn in range(20):
            x, y = rng.integers(0, 5, 2) * 16
            width, height = rng.integers(1, 3, 2) * 16
            image = image.copy()
            image[y : y + height, x : x + width] = picture(turn + 1, (96, 96))[y : y + height, x : x + width]
            part.update(image[None], [(int(x), int(y), int(x + width), int(y + height))])
            full.fill(image[None])
            found, expected = (np.array(f.outputs_of("small")["map"]) for f in (part, full))
            np.testing.assert_allclose(found, expected, atol=1e-4)


def test_auto_selects_ncnn_on_a_machine_without_onnxruntime(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "onnxruntime" else found(name, *rest)
    )
    with closing(opened(MODEL, "auto")) as inference:
        assert inference.backend.startswith("ncnn ")
    expected = "but none for 'ncnn'; expected another backend, or the model compiled for 'ncnn'"
    with pytest.raises(ModelError, match=expected):
        opened(DIGITS, "auto")


def test_auto_prefers_onnxruntime():
    with closing(opened(MODEL, "auto")) as inference:
        assert inference.backend.startswith("onnxruntime ")
