"""The models to compile, from ONNX files or a model folder, each with its family, preprocessing and published files.

Not here: changes other than canonical form and cutting tails (assemble.py).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from edge_app.compiler import (
    canonical,
    families,
    frontend,
    metadata,
    net,
    onnx_file,
    opset,
    output_layout,
    suppression,
    tails,
)
from edge_app.compiler.families import Color, Family, Preprocessing, Requested, Triple
from edge_app.compiler.net import Net
from edge_app.compiler.onnx_file import OnnxFile
from edge_app.compiler.output_layout import Layout
from edge_app.compiler.session import Array, HostSession
from edge_app.compiler.tails import Cut
from edge_app.errors import ConfigError, ModelError, foreign_text
from edge_app.frame import UInt8
from edge_app.geometry.boxes import Resize
from edge_app.model import manifest as manifests


@dataclass(frozen=True, slots=True)
class ModelOptions:
    """Options for all models, from the command line. None: use the default of the family."""

    family: str | None = None
    labels: tuple[str, ...] | str = ()
    mean: Triple | None = None
    std: Triple | None = None
    color: Color | None = None
    resize: Resize | None = None
    input_size: tuple[int, int] | None = None
    head: Mapping[str, str] = field(default_factory=dict)  # options of the head: version, activation
    crop_fraction: float | None = None


@dataclass(frozen=True, slots=True)
class InputModel:
    """The whole model of one head in canonical form, in the input size of its file.

    net: without its tail. preprocessing: applied to pixels before `net`; recorded: the same in the manifest, which also
    lists mean and std that the graph applies. assumed: settings taken from the family's defaults. graphs: the published
    files, for comparison. shape, dtype: of their input. layouts: of their outputs, if they differ from those of `net`.
    """

    name: str
    net: Net
    cut: Cut | None
    family: Family
    preprocessing: Preprocessing
    recorded: Preprocessing
    labels: tuple[str, ...] | str
    options: Mapping[str, Any]
    assumed: tuple[str, ...]
    graphs: tuple[bytes, ...]
    shape: tuple[int, int, int, int]
    dtype: str
    layouts: tuple[Layout, ...] = ()
    sessions: list[HostSession] = field(default_factory=list)

    def run(self, pixels: UInt8) -> list[Array]:
        """The outputs of the published files for one image (H, W, 3) BGR."""
        return self.infer(self.prepared(pixels))

    def prepared(self, pixels: UInt8) -> Array:
        """The image as the published file takes it."""
        image: Array = pixels[..., ::-1] if self.preprocessing.color == "rgb" else pixels
        if self.dtype != "uint8":
            image = (image - np.array(self.preprocessing.mean)) / np.array(self.preprocessing.std)
            image = image.astype(self.dtype)
        planes = self.shape[1] == 3
        return np.ascontiguousarray(image.transpose(2, 0, 1) if planes else image)[None]

    def infer(self, tensor: Array) -> list[Array]:
        """Run the published files on a prepared image. Returns their outputs as the heads read them."""
        if not self.sessions:
            self.sessions.extend(HostSession(graph) for graph in self.graphs)
        tensors = {self.sessions[0].inputs[0]: tensor}
        outputs: list[Array] = []
        for session in self.sessions:
            outputs = session.feed({name: tensors[name] for name in session.inputs})
            tensors.update(zip(session.outputs, outputs))
        if not any(self.layouts):
            return outputs
        return [output_layout.applied(layout, output) for layout, output in zip(self.layouts, outputs)]


def read(paths: Sequence[Path], options: ModelOptions) -> list[InputModel]:
    """Read every head of the files and folders. Raises ModelError, ConfigError."""
    models: list[InputModel] = []
    for path in paths:
        models += _folder(path, options) if path.is_dir() else [_file(path, options)]
    names = [model.name for model in models]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{name}: two models have this name; expected files with different names")
    return [_in_opset(model, max(each.net.opset for each in models)) for model in models]


def _in_opset(model: InputModel, version: int) -> InputModel:
    """The model with its graph in the opset of the others, so that they can be joined."""
    if model.net.opset == version:
        return model
    raised = net.from_model(opset.raised(model.net.to_model(), version, model.name), model.net.name)
    raised.metadata = model.net.metadata
    return replace(model, net=raised)


def _file(path: Path, options: ModelOptions) -> InputModel:
    file = onnx_file.load(path)
    known = metadata.parse(file.net.metadata)
    requested = Requested(options.family, families.resolved(options.labels), options.head)
    families.check_task(path.stem, known, requested)
    raw = _sized(file.net, options, str(path))
    if file.suppression or suppression.OPERATOR in {node.op for node in raw.nodes}:
        if model := _without_suppression(file, raw, path, options):
            return model
        if file.suppression:
            kind = f"non-maximum suppression in the graph ({foreign_text(file.suppression)})"
            raise ModelError(f"{path.stem}: {kind}: not supported; expected an export without it")
    return _model(file, raw, path, options)


def _without_suppression(file: OnnxFile, raw: Net, path: Path, options: ModelOptions) -> InputModel | None:
    """The model without its suppression, at the last table whose tail can be cut off too; None if there is none."""
    for table in suppression.tables(raw):
        try:
            model = _model(file, table, path, options)
        except ModelError:
            continue
        if model.cut is not None:
            given = {**suppression.settings(raw, table), **file.suppression_options}
            found = ", ".join(f"{name} {str(value).lower()}" for name, value in given.items())
            by = f"the non-maximum suppression by the head instead of the graph{f' ({found})' if found else ''}"
            return replace(model, options={**given, **model.options}, assumed=(*model.assumed, by))
    return None


def _model(file: OnnxFile, raw: Net, path: Path, options: ModelOptions) -> InputModel:
    """raw: the graph of the file, or a part of it that is taken for the file."""
    known = metadata.parse(raw.metadata)
    requested = Requested(options.family, families.resolved(options.labels), options.head)
    shape, dtype = raw.inputs[0].shape, raw.inputs[0].dtype
    whole, layouts = _canonical(raw)
    family = families.recognize(whole, known, requested)
    preprocessing, assumed = _with_options(family, options, frontend.pixel_offset(raw))
    labels = options.labels or family.labels
    if not options.labels and labels and labels != known.labels:
        assumed.append(f"labels {labels if isinstance(labels, str) else ', '.join(labels)}")
    if file.widened:
        assumed.append("float16 computed in float32")
    cut = tails.cut(whole, family.name, family.options)
    head_options = {**family.options, **(cut.options if cut else {})}
    assumed += cut.assumed if cut else ()
    families.build(cut.net if cut else whole, family.name, head_options, families.resolved(labels))
    graph = file.data if raw is file.net else raw.to_model().SerializeToString()
    return InputModel(
        _head_name(path.stem), cut.net if cut else whole, cut, family, preprocessing, preprocessing, labels,
        head_options, tuple(assumed),
        (graph,), _four(shape), dtype, layouts,
    )  # fmt: skip


def _folder(folder: Path, options: ModelOptions) -> list[InputModel]:
    """The heads of a model folder. Its manifest has the family and preprocessing that an ONNX file lacks."""
    manifest = manifests.load(folder)
    spec = manifest.input
    given = (options.family, options.mean, options.std, options.color, options.resize, options.crop_fraction)
    if any(given) or options.head:
        raise ConfigError(f"{folder}: a model folder defines family and preprocessing; expected no options for them")
    recorded = Preprocessing(spec.color, spec.mean, spec.std, spec.resize, spec.pad, spec.crop_fraction)
    preprocessing = (
        recorded if spec.dtype == "float32" else replace(recorded, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    )
    backbone_files = [(graph.path, graph.read()) for graph in manifest.backbone_graphs("onnx")]
    models = []
    for name, head in manifest.heads.items():
        if head.crops is not None:
            raise ConfigError(
                f"{folder}: heads.{name} takes crops, which are a separate input; compile its ONNX file separately"
            )
        head_graphs = [manifest.graph(head.graph, "onnx")] if head.graph else []
        files = [*backbone_files, *((graph.path, graph.read()) for graph in head_graphs)]
        whole = _chain(name, files, list(head.inputs) if head.graph is None else None)
        whole.inputs = [replace(whole.inputs[0], shape=spec.shape)]  # the file may leave the image size free
        whole, layouts = _canonical(whole)
        family = Family(head.family, f"from {folder / manifests.FILE}", recorded)
        models.append(
            InputModel(
                name, whole, None, family, preprocessing, recorded, head.labels, head.options, (),
                tuple(data for _, data in files), spec.shape, spec.dtype, layouts,
            )
        )  # fmt: skip
    return models


def _chain(name: str, files: Sequence[tuple[Path, bytes]], outputs: list[str] | None) -> Net:
    """Join graphs in sequence into one. outputs: None means those of the last graph."""
    whole, *parts = (onnx_file.load(path, data).net for path, data in files)
    for part in parts:
        last = part is parts[-1] and outputs is None
        whole = net.join(name, whole, part, None if last else [*whole.outputs, *part.outputs])
    whole.name, whole.outputs = name, outputs or whole.outputs
    return whole


def _sized(raw: Net, options: ModelOptions, where: str) -> Net:
    """The graph with every input size fixed."""
    raw = _for_its_own_size(raw, options)
    if len(raw.inputs) != 1:
        names = ", ".join(foreign_text(value.name) for value in raw.inputs) or "none"
        raise ModelError(f"{where}: found the inputs {names}; expected one image")
    (value,) = raw.inputs
    name = f"{where}: input '{foreign_text(value.name)}'"
    found = f"{name} is {value.dtype} {_text(value.shape)}"
    if len(value.shape) != 4:
        raise ModelError(f"{found}; expected an image 1x3xHxW or 1xHxWx3")
    if 3 not in (channels := (value.shape[1], value.shape[3])) and None not in channels:
        raise ModelError(f"{found}; expected three color channels: other images are not supported")
    if value.shape[0] not in (1, None):
        raise ModelError(f"{found}; expected a batch of 1: export it with one image, or with a dynamic batch")
    if None not in value.shape:
        return raw
    free = [n for i, n in enumerate(value.shape) if n is None and i > 0]
    size = options.input_size or metadata.parse(raw.metadata).image_size
    if free and size is None:
        raise ModelError(f"{name} {_text(value.shape)} has free sizes; expected --input WxH")
    width, height = size or (0, 0)
    planes = value.shape[1] in (3, None) and value.shape[3] != 3
    fixed_shape = (1, 3, height, width) if planes else (1, height, width, 3)
    raw = raw.copy()
    raw.inputs = [
        net.Value(value.name, value.dtype, tuple(n or w for n, w in zip((None, *value.shape[1:]), fixed_shape)))
    ]
    return raw


def _for_its_own_size(raw: Net, options: ModelOptions) -> Net:
    """The graph without a second input (1, 2), the size of the original image: that of the input is put in its place.

    The published exports of RT-DETR and D-FINE scale their boxes by it; then these are in pixels of the input.
    """
    images = [value for value in raw.inputs if len(value.shape) == 4]
    sizes = [value for value in raw.inputs if value.shape[1:] == (2,) and "size" in value.name.lower()]
    if len(raw.inputs) != 2 or len(images) != 1 or len(sizes) != 1:
        return raw
    width, height = options.input_size or (images[0].shape[3] or 0, images[0].shape[2] or 0)
    raw = raw.copy()
    raw.inputs = images
    raw.weights[sizes[0].name] = np.array([[width, height]], sizes[0].dtype)
    return raw


def _with_options(family: Family, options: ModelOptions, pixel_offset: float | None) -> tuple[Preprocessing, list[str]]:
    """The preprocessing, and which of its settings are assumed. pixel_offset: by `frontend.pixel_offset`."""
    default = family.preprocessing
    if pixel_offset is not None:
        default = replace(default, mean=(pixel_offset,) * 3, std=(1.0, 1.0, 1.0))
    resize = options.resize or ("crop" if options.crop_fraction else default.resize)
    fraction = options.crop_fraction or (default.crop_fraction if default.resize == "crop" else 1.0)
    part = (
        f" ({fraction:g} of the short side)" if resize == "crop" and fraction != 1 and not options.crop_fraction else ""
    )
    assumed = [
        f"{name} {value}"
        for name, option, value in (
            ("color", options.color, default.color), ("mean", options.mean, list(default.mean)),
            ("std", options.std, list(default.std)), ("resize", options.resize, f"{resize}{part}"),
        )
        if option is None
    ]  # fmt: skip
    return Preprocessing(
        options.color or default.color,
        options.mean or default.mean,
        options.std or default.std,
        resize,
        default.pad,
        fraction if resize == "crop" else 1.0,
    ), assumed


def _canonical(raw: Net) -> tuple[Net, tuple[Layout, ...]]:
    """The graph on float planes in canonical form, and the layouts that its outputs had."""
    whole = canonical.canonicalize(frontend.with_planes(frontend.without_pixels(raw)))
    shapes = whole.shapes()
    if unknown := next((name for name in whole.outputs if name not in shapes), None):
        found = f"the shape of the output '{foreign_text(unknown)}' cannot be inferred"
        raise ModelError(f"{raw.name}: {found}; expected a known shape")
    return canonical.with_head_layout(whole)


def _text(shape: net.Shape) -> str:
    return "x".join("?" if n is None else str(n) for n in shape)


def _four(shape: net.Shape) -> tuple[int, int, int, int]:
    a, b, c, d = (n or 1 for n in shape)
    return a, b, c, d


def _head_name(stem: str) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", stem.lower()).strip("-") or "model"
