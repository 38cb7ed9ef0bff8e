"""The results and measurements of a compilation, as a table and as one JSON object."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from edge_app.compiler.proof import HeadProof

LEAST_COSINE = 0.99  # of an NPU's outputs with float; below it, the report names a more exact precision


@dataclass(slots=True)
class HeadReport:
    name: str
    family: str
    why: str
    outputs: list[str]
    labels: int


@dataclass(slots=True)
class Int8Report:
    """agreement: decoded results against float32, on held-out images. cosines: by tensor, worst first.

    scores: the lowest cosine of the values before the last Softmax or Sigmoid, or of the outputs without one.
    """

    agreement: dict[str, float]
    method: str
    methods: dict[str, float]
    cosines: dict[str, float]
    float_convolutions: list[str]
    bytes: int
    time_ms: float
    scores: float | None = None


@dataclass(slots=True)
class ShapesReport:
    """Graphs for parts of an image, in addition to the other graphs of a target. boxes: number of parts checked.

    bytes: of their files. weights, internal: bytes of NPU memory.
    """

    files: int
    bytes: int
    weights: int
    internal: int
    boxes: int


@dataclass(slots=True)
class NpuReport:
    """agreement, cosines: of the converter's simulator with float32, and with onnxruntime's INT8 if it was built.

    weights, internal: bytes of NPU memory. cpu_layers: layers that run on the CPU, on targets that can. finer: a more
    exact precision that the target has for this model, or "".
    """

    agreement: dict[str, float]
    cosines: dict[str, float]
    agreement_int8: dict[str, float]
    cosines_int8: dict[str, float]
    weights: int
    internal: int
    cpu_layers: list[str]
    shapes: ShapesReport | None = None
    precision: str = "int8"
    finer: str = ""


@dataclass(slots=True)
class NcnnReport:
    """agreement, max_error: with float32 in onnxruntime. weights: bytes of the files. memory: other bytes, measured.

    free: graphs that take any size, so that reuse can run parts of an image. fixed: the others.
    """

    agreement: dict[str, float]
    max_error: float
    weights: int
    memory: int
    free: list[str]
    fixed: list[str]


@dataclass(slots=True)
class Report:
    """speedup: time of the published files over that of `fused`; speedup_split: over that of backbone and heads.

    max_abs_error: the largest of the proofs, None if the rows of every output are without an order. proof: by head.
    backup: where the folder is kept that `out` has replaced, if the compiler did not write it.
    """

    out: str
    input: str
    heads: list[HeadReport]
    backbone: dict[str, str] | None
    max_abs_error: float | None
    proof: dict[str, HeadProof]
    speedup: float
    speedup_split: float
    time_ms: dict[str, float]
    bytes: int
    parameters: int
    pictures: str
    targets: list[str]
    assumed: list[str]
    warnings: list[str] = field(default_factory=list)
    int8: Int8Report | None = None
    npu: dict[str, NpuReport] = field(default_factory=dict)
    ncnn: NcnnReport | None = None
    seconds: float = 0.0
    backup: str | None = None

    @property
    def int8_agreement(self) -> dict[str, float] | None:
        return self.int8.agreement if self.int8 else None


def as_json(report: Report) -> str:
    return json.dumps({**asdict(report), "int8_agreement": report.int8_agreement})


def as_table(report: Report) -> str:
    rows: list[tuple[str, str]] = [("model", f"{report.out}  ({report.seconds:.0f} s)"), ("input", report.input)]
    for head in report.heads:
        labels = f", {head.labels} labels" if head.labels else ", no labels"
        rows.append((f"head {head.name}", f"{head.family}: {head.why}{labels}; outputs {', '.join(head.outputs)}"))
    for name, text in (report.backbone or {"backbone": "none: nothing can be shared or reused"}).items():
        rows.append((name, text))
    if report.assumed:
        rows.append(("assumed", "; ".join(report.assumed)))
    rows += [(f"proof {name}", f"{found.text()}; on {report.pictures}") for name, found in report.proof.items()]
    times = ", ".join(f"{name} {ms:.2f} ms" for name, ms in report.time_ms.items())
    rows.append(
        (
            "time",
            f"{times}: {report.speedup:.2f}x fused, {report.speedup_split:.2f}x as backbone and heads (one thread)",
        )
    )
    rows.append(("size", f"{report.parameters:,} parameters, {report.bytes:,} bytes"))
    if report.int8:
        rows += _int8(report.int8)
    for target, npu in report.npu.items():
        rows += _npu(target, npu)
    if report.ncnn:
        rows += _ncnn(report.ncnn)
    rows.append(("targets", ", ".join(report.targets)))
    if report.backup:
        rows.append(("backup", f"the folder that was there before is now {report.backup}"))
    rows += [("warning", text) for text in report.warnings]
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)


def _int8(int8: Int8Report) -> list[tuple[str, str]]:
    tried = ", ".join(f"{name} {score:.3f}" for name, score in int8.methods.items())
    method = "; ".join(filter(None, (int8.method, tried)))
    worst = ", ".join(f"{name} {value:.4f}" for name, value in list(int8.cosines.items())[:3])
    left = f"; {len(int8.float_convolutions)} convolutions remain in float" if int8.float_convolutions else ""
    return [
        ("int8", f"agreement {_score_list(int8.agreement)} (by {method}){left}"),
        ("", f"{int8.bytes:,} bytes, {int8.time_ms:.2f} ms; worst tensors by cosine: {worst}"),
        *([] if int8.scores is None else [("", f"outputs before a last Softmax or Sigmoid: cosine {int8.scores:.4f}")]),
    ]


def _npu(target: str, npu: NpuReport) -> list[tuple[str, str]]:
    against = f", with onnxruntime INT8 {_score_list(npu.agreement_int8)}" if npu.agreement_int8 else ""
    rows = [
        (target, f"{npu.precision}, simulator: agreement with float {_score_list(npu.agreement)}{against}"),
        ("", f"lowest cosine {min(npu.cosines.values()):.4f}; NPU memory {npu.weights:,} + {npu.internal:,} bytes"),
    ]
    if npu.shapes:
        s = npu.shapes
        memory = f"{s.bytes:,} bytes, NPU memory {s.weights:,} + {s.internal:,} bytes"
        rows.append(("", f"{s.files} graphs for parts: {memory}; {s.boxes} parts checked, bit-equal to the whole"))
    if min(npu.cosines.values()) < LEAST_COSINE and npu.finer:
        rows.append(("", f"an output's cosine is below {LEAST_COSINE}; --precision {npu.finer} is closer to float"))
    if npu.cpu_layers:
        rows.append(("", f"on the CPU: {', '.join(npu.cpu_layers)}"))
    return rows


def _ncnn(ncnn: NcnnReport) -> list[tuple[str, str]]:
    sizes = f"any size: {', '.join(ncnn.free) or 'none'}; the image's only: {', '.join(ncnn.fixed) or 'none'}"
    return [
        ("ncnn", f"agreement with float {_score_list(ncnn.agreement)}; largest error {ncnn.max_error:.1e}"),
        ("", f"weights {ncnn.weights:,} bytes, other memory {ncnn.memory:,} bytes; {sizes}"),
    ]


def _score_list(scores: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
