"""Every graph of a model converted for one NPU, and run in the converter's simulator as the device would run it.

The backbone is one graph: an NPU runs whole pictures, and every graph more is copied out of and into it. Heads are
calibrated with the features that float32 gives, and simulated with those that the simulated backbone gives. One more
file has backbone and heads fused. For reuse of parts its segments and heads are made in several shapes as well, with
the scales of the backbone and of the whole head. Not here: the converter itself (rknn.py), those shapes (shapes.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from edge_app.compiler import frontend, rknn, shapes
from edge_app.compiler.assemble import Assembly
from edge_app.compiler.frontend import IMAGE
from edge_app.compiler.judge import Judge, Outputs
from edge_app.compiler.net import Net
from edge_app.compiler.pictures import Pictures
from edge_app.compiler.report import NpuReport, ShapesReport
from edge_app.compiler.rknn import Converted, Job, Ranges
from edge_app.compiler.session import Array, Session
from edge_app.compiler.shapes import Shapes
from edge_app.errors import ConfigError, ModelError
from edge_app.reuse.fixed_shapes import Size

TARGETS = rknn.TARGETS
ByName = dict[str, Shapes]


def check_targets(targets: Sequence[str], calibrated: bool, converter: Path | None, *, shaped: bool = False) -> None:
    """Everything that can be known before the work begins. shaped: parts are wanted. Raises ConfigError."""
    wanted = [target for target in targets if target != "onnx"]
    if shaped and not wanted:
        raise ConfigError("--npu-shapes: found no NPU among the targets; expected one, such as --target rv1106")
    if wanted and not calibrated:
        raise ConfigError(
            f"--target {wanted[0]}: NPUs compute in int8; expected --calibrate with a clip or a folder of images"
        )
    if wanted:
        python = rknn.environment(converter)
        if shaped:
            rknn.check_ranges(python)


def python(converter: Path | None) -> Path:
    return rknn.environment(converter)


@dataclass(frozen=True, slots=True)
class Made:
    """files: by part. outputs: of the simulator, backbone and heads apart, for every row that is judged.

    segments, heads: in several shapes, by name; {} where none were wanted.
    """

    files: dict[str, Converted]
    outputs: list[Outputs]
    segments: ByName = field(default_factory=dict)
    heads: ByName = field(default_factory=dict)

    def report(self, judge: Judge, int8: list[Outputs] | None) -> NpuReport:
        loaded = [made for part, made in self.files.items() if part != "fused"]
        return NpuReport(
            judge.agreement(self.outputs),
            judge.cosines(self.outputs),
            judge.between(self.outputs, int8) if int8 else {},
            judge.cosines(self.outputs, int8) if int8 else {},
            sum(made.memory.weights for made in loaded),
            sum(made.memory.internal for made in loaded),
            sorted({f"{layer.op} {layer.name}" for made in loaded for layer in made.cpu_layers}),
            self._of_shapes() if self.segments else None,
        )

    def _of_shapes(self) -> ShapesReport:
        steps = [*self.segments.values(), *self.heads.values()]
        known = [id(made) for made in self.files.values()]
        more = [made for step in steps for made in step.files.values() if id(made) not in known]
        return ShapesReport(
            len(more),
            sum(len(made.data) for made in more),
            sum(made.memory.weights for made in more),
            sum(made.memory.internal for made in more),
            sum(step.boxes for step in steps),
        )


@dataclass(frozen=True, slots=True)
class Conversion:
    """One target's conversions. folder: for files in between. sizes: those of parts of the picture."""

    target: str
    python: Path
    folder: Path
    say: Callable[[str], None]
    assembly: Assembly
    sizes: tuple[Size, ...] = ()

    def run(self, seen: Pictures, rows: Sequence[int]) -> Made:
        """Convert backbone, heads and the fused graph. Raises ModelError where the converter fails or a layer does."""
        assembly = self.assembly
        calibration: dict[str, Array] = {IMAGE: seen.pixels[list(seen.calibration)]}
        simulated: dict[str, Array] = {IMAGE: seen.pixels[list(rows)]}
        ranges: Ranges | None = {} if self.sizes else None  # to be told, for the parts
        files: dict[str, Converted] = {}
        if assembly.backbone is not None:
            net = assembly.backbone
            files["backbone"] = made = self._convert(ranges, "backbone", net, calibration, simulated)
            simulated.update(zip(net.outputs, made.outputs))
            calibration.update(_float_features(net, assembly, calibration))
        found: dict[str, dict[str, Array]] = {}
        for name, net in assembly.heads.items():
            files[name] = made = self._convert(ranges, name, net, calibration, simulated)
            found[name] = dict(zip(net.outputs, made.outputs))
        if assembly.backbone is not None:
            files["fused"] = self._convert(None, "fused", assembly.whole, calibration, {})
        outputs: list[Outputs] = [
            {head: {n: a[i : i + 1] for n, a in named.items()} for head, named in found.items()}
            for i in range(len(rows))
        ]
        first = {name: array[:1] for name, array in simulated.items()}
        return Made(files, outputs, *(self._parts(files, first) if self.sizes else ()))

    def _parts(self, files: dict[str, Converted], maps: dict[str, Array]) -> tuple[ByName, ByName]:
        """Segments and heads in several shapes. maps: image and features of one picture, as simulated."""
        height, width = maps[IMAGE].shape[1:3]
        segments, heads = {}, {}
        for step in shapes.segments(self.assembly):
            convert = partial(self._convert, files["backbone"].ranges)
            inputs = {value.name: maps[value.name] for value in step.net.inputs}
            whole = convert(step.name, step.net, inputs, inputs)
            for name, found in zip(step.net.outputs, whole.outputs):
                if not np.array_equal(maps.setdefault(name, found), found):
                    raise ModelError(f"{step.name} for {self.target}: its '{name}' is not that of the whole backbone")
            segments[step.name] = shapes.made(step, ((width, height), whole), self.sizes, maps, convert)
        for step in shapes.heads(self.assembly):
            convert = partial(self._convert, files[step.name].ranges)
            heads[step.name] = shapes.made(step, ((width, height), files[step.name]), self.sizes, maps, convert)
        return segments, heads

    def _convert(
        self, ranges: Ranges | None, part: str, net: Net, calibration: dict[str, Array], simulated: dict[str, Array]
    ) -> Converted:
        self.say(f"{self.target}: {part}")
        names = [value.name for value in net.inputs]
        image = names == [IMAGE]
        job = Job(
            part, net.serialize(), self.target,
            self.assembly.mean if image else None, self.assembly.std if image else None,
            {name: calibration[name] for name in names}, {name: simulated[name] for name in names if simulated}, ranges,
        )  # fmt: skip
        return rknn.convert(job, self.python, self.folder)


def _float_features(net: Net, assembly: Assembly, known: dict[str, Array]) -> dict[str, Array]:
    """What float32 gives for the calibration pictures, (N, C, H, W) by feature."""
    names = [value.name for value in net.inputs]
    graph = frontend.with_pixels(net, assembly.mean, assembly.std) if names == [IMAGE] else net
    session = Session(graph.serialize())
    count = len(known[names[0]])
    rows = [session.feed({name: known[name][i : i + 1] for name in session.inputs}) for i in range(count)]
    return {name: np.concatenate([row[k] for row in rows]) for k, name in enumerate(net.outputs)}
