"""Turn whole models into backbone and heads, and run them.

Not here: the comparison with the published files (proof.py), writing files (folder_writer.py), INT8 (quantize.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from edge_app.compiler import canonical, frontend, head_segments, share, split
from edge_app.compiler.head_segments import HeadSegment
from edge_app.compiler.input_models import InputModel
from edge_app.compiler.net import Net, join
from edge_app.compiler.output_cells import CellDependency, cell_dependencies
from edge_app.compiler.session import Array, HostSession
from edge_app.compiler.split import Feature
from edge_app.frame import UInt8


@dataclass(frozen=True, slots=True)
class Assembly:
    """Backbone and heads, on float32 planes (frontend.core); `on_pixels` has them on the camera's pixels.

    backbone: None if the model cannot be split. segments: the backbone, cut for engines that can run it on a part of a
    image. heads: by name. whole: backbone and heads in one graph. mean, std: BGR, of the pixels. cuts: maps between
    segments that are not features. head_segments: of the heads that are cut, which `heads` has as a whole.
    """

    backbone: Net | None
    segments: tuple[Net, ...]
    heads: dict[str, Net]
    features: tuple[Feature, ...]
    whole: Net
    mean: tuple[float, ...]
    std: tuple[float, ...]
    cuts: tuple[Feature, ...] = ()
    head_segments: Mapping[str, tuple[HeadSegment, ...]] = field(default_factory=dict)

    def on_pixels(self, *, one_pass: bool = True) -> tuple[list[Net], dict[str, Net]]:
        """Segments and heads for onnxruntime; the first graph takes the camera's image. one_pass: see frontend.py."""
        segments = list(self.segments)
        if segments:
            return [self._on_pixels(segments[0], one_pass), *segments[1:]], dict(self.heads)
        return [], {name: self._on_pixels(net, one_pass) for name, net in self.heads.items()}

    def maps(self) -> tuple[Feature, ...]:
        """Every map that leaves a segment: the features, and the other maps at which segments are cut."""
        return (*self.features, *self.cuts)

    def cell_dependencies(self) -> dict[str, dict[str, CellDependency]]:
        """By head and output, for heads that can run on a part of their input maps."""
        strides, size = _strides(self.features), _size(self.whole)
        by_head = {
            name: cell_dependencies(net, _of_inputs(net, strides), size)
            for name, net in self.heads.items()
            if self.segments
        }
        return {name: dependencies for name, dependencies in by_head.items() if dependencies is not None}

    def whole_on_pixels(self, *, one_pass: bool = True) -> Net:
        return self._on_pixels(self.whole, one_pass)

    def _on_pixels(self, net: Net, one_pass: bool) -> Net:
        return frontend.with_pixels(net, self.mean, self.std, one_pass=one_pass)


def assemble(models: Sequence[InputModel], size: tuple[int, int] | None, cuts: Sequence[int]) -> Assembly:
    """Find the common backbone of several models, or split one model.

    size: another input width and height; None keeps that of the file. cuts: strides at which to cut the backbone.
    """
    nets = []
    for model in models:
        net = frontend.core(model.net, model.preprocessing.color)
        net.name = model.name
        nets.append(canonical.set_input_size(net, *size) if size else net)
    preprocessing = [_preprocessing_text(model) for model in models]
    split_model = split.at_features(nets[0]) if len(nets) == 1 else share.backbone(nets, preprocessing)
    split_model = split.with_readable_names(split_model)
    heads = {net.name: net for net in split_model.heads}
    segments = split.segments(split_model, cuts) if split_model.backbone else ()
    mean, std = models[0].preprocessing.mean, models[0].preprocessing.std
    step = -1 if models[0].preprocessing.color == "rgb" else 1
    whole = _whole(split_model)
    extra = {name for net in segments for name in net.outputs} - {feature.name for feature in split_model.features}
    fields = split.croppable_fields(split_model.backbone, segments) if split_model.backbone else {}
    features, cut_maps = (
        tuple(replace(feature, receptive_field=fields.get(feature.name)) for feature in maps)
        for maps in (split_model.features, split.features(whole, extra))
    )
    return Assembly(
        split_model.backbone, segments, heads, features, whole, tuple(mean[::step]), tuple(std[::step]), cut_maps,
        _head_segments(heads, features, whole) if segments and cuts else {},
    )  # fmt: skip


def _head_segments(
    heads: Mapping[str, Net], features: Sequence[Feature], whole: Net
) -> dict[str, tuple[HeadSegment, ...]]:
    strides, size = _strides(features), _size(whole)
    smallest = head_segments.SMALLEST * head_segments.operations(whole, whole.shapes())
    cut = {name: head_segments.cut(net, _of_inputs(net, strides), size, smallest) for name, net in heads.items()}
    return {name: segments for name, segments in cut.items() if segments}


def _strides(features: Sequence[Feature]) -> dict[str, Fraction]:
    """The strides of the features that can be computed in parts."""
    return {f.name: f.receptive_field.stride for f in features if f.receptive_field is not None}


def _of_inputs(net: Net, strides: Mapping[str, Fraction]) -> dict[str, Fraction]:
    return {value.name: strides[value.name] for value in net.inputs if value.name in strides}


def _size(whole: Net) -> tuple[int, int]:
    """Height and width of the image."""
    height, width = whole.inputs[0].shape[2:]
    return int(height or 0), int(width or 0)


class Runner:
    """Runs an assembly's ONNX files as the device does: the backbone once, then every head."""

    def __init__(self, segments: Sequence[bytes], heads: dict[str, bytes]) -> None:
        self._segments = [HostSession(data) for data in segments]
        self._heads = {name: HostSession(data) for name, data in heads.items()}

    @classmethod
    def of(cls, assembly: Assembly) -> Runner:
        """The graphs of an assembly, as they are written."""
        segments, heads = assembly.on_pixels()
        return cls(
            [canonical.any_size(net).serialize() for net in segments],
            {name: net.serialize() for name, net in heads.items()},
        )

    def run(self, pixels: UInt8) -> dict[str, dict[str, Array]]:
        """Outputs by head and name for one image (H, W, 3) BGR."""
        tensors: dict[str, Array] = {frontend.IMAGE: pixels[None]}
        for session in self._segments:
            tensors.update(zip(session.outputs, session.feed({name: tensors[name] for name in session.inputs})))
        outputs = {}
        for name, session in self._heads.items():
            outputs[name] = dict(zip(session.outputs, session.feed({i: tensors[i] for i in session.inputs})))
        return outputs


def _whole(split_model: split.Parts) -> Net:
    """Backbone and all heads as one graph, with outputs named head/output."""
    if split_model.backbone is None:
        (net,) = split_model.heads
        whole = net.copy()
        outputs = [(net.name, name) for name in net.outputs]
    else:
        whole, outputs = split_model.backbone, []
        for head in split_model.heads:
            prefixed = head.copy()
            for name in head.outputs:
                prefixed.rename(name, f"{head.name}/{name}")
                outputs.append((head.name, name))
            whole = join("whole", whole, prefixed, [*whole.outputs, *prefixed.outputs])
        whole.outputs = [f"{head}/{name}" for head, name in outputs]
        return whole
    for head_name, name in outputs:
        whole.rename(name, f"{head_name}/{name}")
    return whole


def _preprocessing_text(model: InputModel) -> str:
    p = model.preprocessing
    part = f" {p.crop_fraction:g}" if p.resize == "crop" else ""
    return f"({p.color}, mean {list(p.mean)}, std {list(p.std)}, {p.resize}{part})"
