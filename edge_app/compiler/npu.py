"""Every graph of a model converted for one NPU, and run in the converter's simulator as the device would run it.

The backbone is one graph: an NPU runs whole pictures, and every graph more is copied out of and into it. Heads are
calibrated with the features that float32 gives, and simulated with those that the simulated backbone gives. One more
file has backbone and heads fused. Not here: the converter itself (rknn.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_app.compiler import frontend, rknn
from edge_app.compiler.assemble import Assembly
from edge_app.compiler.frontend import IMAGE
from edge_app.compiler.judge import Judge, Outputs
from edge_app.compiler.net import Net
from edge_app.compiler.pictures import Pictures
from edge_app.compiler.report import NpuReport
from edge_app.compiler.rknn import Converted, Job
from edge_app.compiler.session import Array, Session
from edge_app.errors import ConfigError

TARGETS = rknn.TARGETS


def check_targets(targets: Sequence[str], calibrated: bool, converter: Path | None) -> None:
    """Everything that can be known before the work begins. Raises ConfigError."""
    wanted = [target for target in targets if target != "onnx"]
    if wanted and not calibrated:
        raise ConfigError(
            f"--target {wanted[0]}: NPUs compute in int8; expected --calibrate with a clip or a folder of images"
        )
    if wanted:
        rknn.environment(converter)


def python(converter: Path | None) -> Path:
    return rknn.environment(converter)


@dataclass(frozen=True, slots=True)
class Made:
    """files: by part. outputs: of the simulator, backbone and heads apart, for every row that is judged."""

    files: dict[str, Converted]
    outputs: list[Outputs]

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
        )


@dataclass(frozen=True, slots=True)
class Conversion:
    """One target's conversions. folder: for files in between."""

    target: str
    python: Path
    folder: Path
    say: Callable[[str], None]

    def run(self, assembly: Assembly, seen: Pictures, rows: Sequence[int]) -> Made:
        """Convert backbone, heads and the fused graph. Raises ModelError where the converter fails or a layer does."""
        calibration: dict[str, Array] = {IMAGE: seen.pixels[list(seen.calibration)]}
        simulated: dict[str, Array] = {IMAGE: seen.pixels[list(rows)]}
        files: dict[str, Converted] = {}
        if assembly.backbone is not None:
            net = assembly.backbone
            files["backbone"] = made = self._convert("backbone", net, assembly, calibration, simulated)
            simulated.update(zip(net.outputs, made.outputs))
            calibration.update(_float_features(net, assembly, calibration))
        found: dict[str, dict[str, Array]] = {}
        for name, net in assembly.heads.items():
            files[name] = made = self._convert(name, net, assembly, calibration, simulated)
            found[name] = dict(zip(net.outputs, made.outputs))
        if assembly.backbone is not None:
            files["fused"] = self._convert("fused", assembly.whole, assembly, calibration, {})
        outputs: list[Outputs] = [
            {head: {n: a[i : i + 1] for n, a in named.items()} for head, named in found.items()}
            for i in range(len(rows))
        ]
        return Made(files, outputs)

    def _convert(
        self, part: str, net: Net, assembly: Assembly, calibration: dict[str, Array], simulated: dict[str, Array]
    ) -> Converted:
        self.say(f"{self.target}: {part}")
        names = [value.name for value in net.inputs]
        image = names == [IMAGE]
        job = Job(
            part, net.serialize(), self.target, assembly.mean if image else None, assembly.std if image else None,
            {name: calibration[name] for name in names}, {name: simulated[name] for name in names if simulated},
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
