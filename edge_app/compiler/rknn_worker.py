"""Convert one graph and run it in the simulator, in the converter's own environment: `python rknn_worker.py job.json`.

Knows nothing of edge_app, which is not installed there. The converter prints its layer table to stdout, which the
parent reads; answers go to job["result"] (JSON) and job["outputs"] (npz). Exit code 0, or 1 with the reason in the
JSON. job["ranges"]: least and most of every tensor, to quantise with; {} tells those that were measured, null does not.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

Ranges = dict[str, tuple[list[float], list[float]]]


class Refused(Exception):
    """The converter said no; the message says to what."""


def convert(job: dict[str, Any]) -> Ranges:
    """Returns the ranges of every tensor, where the job asks for them. Raises Refused."""
    ranges: Ranges = {}
    if job["ranges"] is None:
        rknn = configured(job)
        agreed(rknn.load_onnx(model=job["onnx"]), "load_onnx was refused")
        agreed(rknn.build(do_quantization=True, dataset=job["dataset"]), "build failed")
    else:
        rknn, ranges = with_ranges(job)
    agreed(rknn.export_rknn(job["out"]), "export_rknn failed")
    if job["feeds"]:
        simulate(rknn, job)
    rknn.release()
    return ranges


def configured(job: dict[str, Any]) -> Any:
    from rknn.api import RKNN

    rknn = RKNN(verbose=True)
    config = {"target_platform": job["target"], "quantized_algorithm": "normal", "quantized_method": "channel"}
    if job["mean"] is not None:
        config |= {"mean_values": [job["mean"]], "std_values": [job["std"]]}
    agreed(rknn.config(**config) or 0, "config was refused")
    return rknn


def with_ranges(job: dict[str, Any]) -> tuple[Any, Ranges]:
    """Build in the two steps of hybrid quantisation: between them lies a file with the ranges, and it may be changed.

    Unchanged, the result is that of `build`. Scales follow from least and most; to change them as well is refused.
    """
    from ruamel.yaml import YAML

    first = configured(job)
    agreed(first.load_onnx(model=job["onnx"]), "load_onnx was refused")
    agreed(first.hybrid_quantization_step1(dataset=job["dataset"]), "hybrid_quantization_step1 failed")
    first.release()
    stem = Path(job["onnx"]).stem  # in the current directory
    path, yaml = Path(f"{stem}.quantization.cfg"), YAML(typ="safe")
    found = yaml.load(path)
    tensors = found["quantize_parameters"]
    if job["ranges"]:
        for name, tensor in tensors.items():
            own = name if name in job["ranges"] else name.removesuffix("_int8")  # where the graph ends in it
            if own not in job["ranges"]:
                raise Refused(f"tensor '{name}' has no range; expected those of the graph that this is a part of")
            tensor["min"], tensor["max"] = job["ranges"][own]
        yaml.dump(found, path)
    second = configured(job)
    answer = second.hybrid_quantization_step2(
        model_input=f"{stem}.model", data_input=f"{stem}.data", model_quantization_cfg=str(path)
    )
    agreed(answer, "hybrid_quantization_step2 failed")
    return second, {name: (list(tensor["min"]), list(tensor["max"])) for name, tensor in tensors.items()}


def simulate(rknn: Any, job: dict[str, Any]) -> None:
    import numpy as np

    agreed(rknn.init_runtime(), "the simulator did not start")
    with np.load(job["feeds"]) as file:
        feeds = {name: file[name] for name in file.files}
    results: list[list[Any]] = []
    for row in range(len(next(iter(feeds.values())))):
        inputs = [feeds[name][row : row + 1] for name in job["inputs"]]
        found = rknn.inference(inputs=inputs, data_format="nhwc" if job["mean"] is not None else "nchw")
        if found is None:
            raise Refused("the simulator gave nothing")
        results.append(found)
    stacked: dict[str, Any] = {
        str(i): np.concatenate([np.asarray(row[i]) for row in results]) for i in range(len(results[0]))
    }
    np.savez(job["outputs"], **stacked)


def agreed(answer: int | None, problem: str) -> None:
    if answer != 0:
        raise Refused(problem)


def main() -> int:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    problem, ranges = None, {}
    try:
        ranges = convert(job)
    except Refused as exc:
        problem = str(exc)
    except Exception as exc:  # noqa: BLE001  # whatever the converter throws must reach the parent as a line
        text = str(exc)  # it puts whole tracebacks into messages: the last line counts
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        problem = f"{type(exc).__name__}: {lines[-1] if lines else 'no message'}"
    Path(job["result"]).write_text(json.dumps({"problem": problem, "ranges": ranges}), encoding="utf-8")
    return 0 if problem is None else 1


if __name__ == "__main__":
    sys.exit(main())
