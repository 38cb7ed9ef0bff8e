"""Embeddings of pictures, computed as the camera computes them: for `edge-app gallery`.

Not here: the command (commands/gallery.py), the file (gallery_file.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge_app.config import Config, HeadCommon, HeadConfig
from edge_app.errors import ConfigError, ModelError, foreign_text
from edge_app.frame import Crops, Detections, Embedding, Float32, Frame, HeadOutput, UInt8
from edge_app.inference.alignment import CUTS
from edge_app.inference.engine import open_backend
from edge_app.inference.stage import Inference
from edge_app.model.manifest import ManifestHead
from edge_app.sources.images import decode

_BORDER = 0.5  # on each side, as a share of its size


@dataclass(frozen=True, slots=True, eq=False)
class Face:
    """The only face of a picture. embedding: (D,) of unit length. crop: as the model gets it, BGR."""

    embedding: Float32
    crop: UInt8


class NoFace(ConfigError):
    """A picture without exactly one usable face."""


class Embedder:
    """Runs a head that embeds, and the head whose detections it takes."""

    def __init__(self, inference: Inference, spec: ManifestHead) -> None:
        self._inference, self._spec = inference, spec

    def face(self, path: Path) -> Face:
        """The face in a picture. Raises NoFace if there is none or several, ClipError if it is not a picture.

        A face that fills its picture is looked for again with a border around it: detectors have not learned it.
        """
        pixels = decode(path)
        heads = self._heads(pixels)
        if self._spec.crops is not None and not _number(heads, self._spec.crops.of):
            y, x = (round(_BORDER * side) for side in pixels.shape[:2])
            pixels = np.asarray(cv2.copyMakeBorder(pixels, y, y, x, x, cv2.BORDER_CONSTANT), np.uint8)
            heads = self._heads(pixels)
        return self._only_face(path, pixels, heads)

    def _heads(self, pixels: UInt8) -> Mapping[str, HeadOutput]:
        return self._inference.infer(Frame("picture", 0, 0, 0, pixels)).heads or {}

    def _only_face(self, path: Path, pixels: UInt8, heads: Mapping[str, HeadOutput]) -> Face:
        result, crops = heads[self._spec.name].result, self._spec.crops
        if crops is None:
            assert isinstance(result, Embedding)
            return _usable(path, result.vector, pixels)
        found = heads[crops.of].result
        assert isinstance(found, Detections)
        assert isinstance(result, Crops)
        if len(found) != 1:
            number = f"{len(found)} faces" if len(found) else "no face"
            raise NoFace(f"{path}: found {number}; expected a picture of one, cut out of this one if need be")
        crop = CUTS[crops.align](Frame("picture", 0, 0, 0, pixels), found, 0, crops)
        if not result.results or crop is None:
            raise NoFace(f"{path}: found a face without usable landmarks; expected a larger face, seen from the front")
        (embedding,) = result.results
        assert isinstance(embedding, Embedding)
        return _usable(path, embedding.vector, crop.frame.image)


def _number(heads: Mapping[str, HeadOutput], name: str) -> int:
    """The number of detections of a head."""
    found = heads[name].result
    return len(found) if isinstance(found, Detections) else 0


@contextmanager
def opened(config: Config, spec: ManifestHead) -> Iterator[Embedder]:
    """Load the graphs of a head that embeds. Raises ConfigError, ModelError or BackendError."""
    names = [spec.name] if spec.crops is None else [spec.crops.of, spec.name]
    for name in names:
        if name not in config.heads:
            raise ConfigError(f"{config.path}: heads: '{name}' is not listed; expected it, for the pictures of people")
    # Not when they run in the camera: every picture is one.
    heads = {name: HeadConfig(HeadCommon(), config.heads[name].options, config.heads[name].boxes) for name in names}
    backend = open_backend(config.manifest, config.model)
    try:
        inference = Inference(config.manifest, backend, heads)
    except BaseException:
        backend.close()
        raise
    try:
        yield Embedder(inference, spec)
    finally:
        inference.close()


def head_of(config: Config, wanted: str | None) -> ManifestHead:
    """The head that embeds: `wanted`, else that of the rules `identity`, else the only one. Raises ConfigError."""
    from edge_app import registry

    embedding = [
        name
        for name, spec in config.manifest.heads.items()
        if registry.find("heads", spec.family).result_type is Embedding
    ]
    if wanted is not None:
        if wanted not in embedding:
            expected = ", ".join(embedding) or "but the model has none"
            raise ConfigError(f"--head: found '{foreign_text(wanted)}'; expected a head that embeds: {expected}")
        return config.manifest.heads[wanted]
    named = {str(rule.options["head"]) for rule in config.rules if rule.type == "identity"}
    chosen = sorted(named) if named else embedding
    if len(chosen) != 1:
        found = ", ".join(chosen) or "none"
        raise ConfigError(f"{config.path}: heads that embed: found {found}; expected one, or --head NAME")
    return config.manifest.heads[chosen[0]]


def fingerprint(config: Config, spec: ManifestHead) -> str:
    """Identifies the model of the embeddings: the start of the hash of a head's graph. Raises ModelError."""
    import hashlib

    files = spec.graph or {}
    target = "onnx" if "onnx" in files else next(iter(sorted(files)), None)
    if target is None:
        raise ModelError(f"{config.manifest.folder}: heads.{spec.name}: found no graph of its own; expected one")
    graph = config.manifest.graph(files, target)
    return (graph.sha256 or hashlib.sha256(graph.read()).hexdigest())[:16]


def _usable(path: Path, vector: Float32, crop: UInt8) -> Face:
    if not vector.any():
        raise NoFace(f"{path}: found an embedding that is zero or not finite; expected another picture")
    return Face(vector, crop)
