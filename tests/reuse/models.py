"""Compiled models to test reuse with: the shipped one, and public ones if their files are in $EDGE_APP_DATA."""

from __future__ import annotations

import os
import re
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from edge_app import cli
from edge_app.config import HeadCommon, HeadConfig, ModelConfig
from edge_app.config.reuse import ReuseConfig
from edge_app.frame import Frame
from edge_app.inference.engine import open_backend
from edge_app.inference.stage import Inference
from edge_app.model import manifest
from edge_app.reuse.feature_cache import FeatureCache
from edge_app.reuse.loader import open_features
from edge_app.reuse.profile import ReuseProfile
from edge_app.reuse.propagation import EXACT

SHIPPED = Path(__file__).parent.parent.parent / "models" / "digits"
DATA = Path(os.environ.get("EDGE_APP_DATA", "/nowhere"))
PUBLIC = {"fastestdet": ("FastestDet.onnx", None), "nanodet": ("nanodet_m.onnx", "256x192")}


def compiled(name: str, place: Path, *arguments: str) -> Path:
    """Compile a model into segments. Skips the test if the model's file is absent."""
    out = place / name
    if name == "digits":
        source, size = SHIPPED, None
    else:
        file, size = PUBLIC[name]
        source = DATA / file
        if not source.exists():
            pytest.skip(f"{file} is not in $EDGE_APP_DATA")
    given = ["--input", size] if size else []
    assert cli.main(["compile", str(source), "--out", str(out), "--cut", "4,8,16", *given, *arguments]) == 0
    return out


def as_exported_elsewhere(folder: Path) -> Path:
    """Rename the maps of a model folder to module paths, as some exporters write them."""
    import onnx

    path = folder / manifest.FILE
    loaded = manifest.load(folder)
    text = path.read_text().split("\nsha256:")[0] + "\n"
    renamed = {name: f"/model.{i}/act/Mul_output_0" for i, name in enumerate(loaded.backbone.extents)}
    for file in loaded.files():
        if not file.endswith(".onnx"):
            continue
        model = onnx.load(folder / file)
        for node in model.graph.node:
            for names in (node.input, node.output):
                for i, name in enumerate(names):
                    names[i] = renamed.get(name, name)
        for value in (*model.graph.input, *model.graph.output, *model.graph.value_info):
            value.name = renamed.get(value.name, value.name)
        onnx.save(model, folder / file)
    for name, other in renamed.items():
        text = re.sub(rf"\b{name}\b", other, text)
    path.write_text(text)
    return folder


def features(folder: Path, stack: ExitStack, propagation=EXACT) -> tuple[manifest.Manifest, FeatureCache]:
    """A model's manifest and feature cache. The stack closes it."""
    loaded = manifest.load(folder)
    backend = open_backend(loaded, ModelConfig(folder, "onnx", 1))
    found = open_features(loaded, backend, loaded.heads, ReuseConfig(tolerance=0), ReuseProfile())
    assert found is not None
    stack.callback(found.close)
    found.set_propagation(propagation)
    return loaded, found


def inference(folder: Path, **options) -> Inference:
    loaded = manifest.load(folder)
    heads = {name: HeadConfig(HeadCommon(), spec.options) for name, spec in loaded.heads.items()}
    return Inference(loaded, open_backend(loaded, ModelConfig(folder, "onnx", 1)), heads, **options)


def as_int8(folder: Path) -> Path:
    """Replace the float graphs of a model folder by its int8 graphs."""
    path = folder / manifest.FILE
    loaded = manifest.load(folder)
    for name in loaded.files():
        if name.endswith(".int8.onnx"):
            (folder / name.replace(".int8.onnx", ".onnx")).write_bytes((folder / name).read_bytes())
    path.write_text(path.read_text().split("\nsha256:")[0] + "\n")
    return folder


def picture(seed: int, size: tuple[int, int]) -> np.ndarray:
    """An image (H, W, 3) uint8: smooth shapes with noise, as from a camera."""
    import cv2

    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (size[1] // 16, size[0] // 16, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, size, interpolation=cv2.INTER_CUBIC)
    return np.clip(smooth + rng.normal(0, 3, smooth.shape), 0, 255).astype(np.uint8)


def frames(images, fps: float = 10.0):
    for i, image in enumerate(images):
        yield Frame("clip", i, round((i + 1) * 1e9 / fps), 0, image)
