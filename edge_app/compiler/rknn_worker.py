"""Convert one graph and run it in the simulator, in the converter's own environment: `python rknn_worker.py job.json`.

It does not import edge_app, which is not installed there. The converter prints its layer table to stdout, which the
parent process parses. Results go to job["result"] (JSON) and job["outputs"] (npz). Exit code 0, or 1 with the reason in
the JSON. job["ranges"]: minimum and maximum of every tensor to quantize with; {} returns the calibrated ones, null does
not return them. job["given"]: the same for some tensors only, which replaces the calibrated ones.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

Ranges = dict[str, tuple[list[float], list[float]]]
_MOST_RULES = 8  # disabled for one graph


class ConverterError(Exception):
    """A converter call failed; the message names it."""


def convert_without_broken_rules(job: dict[str, Any]) -> Ranges:
    """Convert; if one of the converter's own optimization rules fails on the graph, convert again without that rule.

    Release 2.5.0 fails in rules for attention blocks, as of YOLO v11 and 26; the layers are then converted one by one.
    """
    disabled = job["disabled_rules"] = []
    while True:
        try:
            return convert(job)
        except Exception as exc:
            rule = failed_rule(str(exc))
            if rule is None or rule in disabled or len(disabled) == _MOST_RULES:
                raise
            disabled.append(rule)


def failed_rule(message: str) -> str | None:
    """The optimization rule in whose function the converter failed, from the traceback in its message."""
    names: list[str] = re.findall(r"rknn\.api\.rules\.\w+\._p_(\w+)", message)
    return names[-1] if names else None


def convert(job: dict[str, Any]) -> Ranges:
    """Convert. Returns the ranges of every tensor if the job asks for them. Raises ConverterError."""
    ranges: Ranges = {}
    if job["ranges"] is None and not job.get("given"):
        rknn = configured_converter(job)
        check(rknn.load_onnx(model=job["onnx"]), "load_onnx failed")
        quantized = job["precision"] != "float16"
        check(rknn.build(do_quantization=quantized, dataset=job["dataset"] if quantized else None), "build failed")
    else:
        rknn, ranges = build_with_ranges(job)
    check(rknn.export_rknn(job["out"]), "export_rknn failed")
    if job["feeds"]:
        simulate(rknn, job)
    rknn.release()
    return ranges


def configured_converter(job: dict[str, Any]) -> Any:
    from rknn.api import RKNN

    rknn = RKNN(verbose=True)
    config = {"target_platform": job["target"], "quantized_algorithm": "normal", "quantized_method": "channel"}
    if job["precision"] == "int16":
        config["quantized_dtype"] = "w16a16i_dfp"
    if job["mean"] is not None:
        config |= {"mean_values": [job["mean"]], "std_values": [job["std"]]}
    if job["disabled_rules"]:
        config["disable_rules"] = list(job["disabled_rules"])
    check(rknn.config(**config) or 0, "config failed")
    return rknn


def build_with_ranges(job: dict[str, Any]) -> tuple[Any, Ranges]:
    """Build by hybrid quantization: its first step writes a file with the ranges, its second step reads it.

    With unchanged ranges the result equals that of `build`. The converter rejects scales that do not follow from them.
    """
    from ruamel.yaml import YAML

    first = configured_converter(job)
    check(first.load_onnx(model=job["onnx"]), "load_onnx failed")
    check(first.hybrid_quantization_step1(dataset=job["dataset"]), "hybrid_quantization_step1 failed")
    first.release()
    stem = Path(job["onnx"]).stem  # in the current directory
    path, yaml = Path(f"{stem}.quantization.cfg"), YAML(typ="safe")
    description = yaml.load(path)
    tensors = description["quantize_parameters"]
    given = job.get("given") or {}
    for name, tensor in tensors.items():
        own = name if name in given else name.removesuffix("_int8")
        if own in given:
            tensor["min"], tensor["max"] = given[own]
    if job["ranges"]:
        for name, tensor in tensors.items():
            own = name if name in job["ranges"] else name.removesuffix("_int8")  # the graph's own output
            if own not in job["ranges"]:
                raise ConverterError(f"tensor '{name}' has no range; expected the ranges of the whole graph")
            tensor["min"], tensor["max"] = job["ranges"][own]
    if job["ranges"] or given:
        yaml.dump(description, path)
    second = configured_converter(job)
    code = second.hybrid_quantization_step2(
        model_input=f"{stem}.model", data_input=f"{stem}.data", model_quantization_cfg=str(path)
    )
    check(code, "hybrid_quantization_step2 failed")
    return second, {name: (list(tensor["min"]), list(tensor["max"])) for name, tensor in tensors.items()}


def simulate(rknn: Any, job: dict[str, Any]) -> None:
    import numpy as np

    check(rknn.init_runtime(), "the simulator did not start")
    with np.load(job["feeds"]) as file:
        feeds = {name: file[name] for name in file.files}
    results: list[list[Any]] = []
    for row in range(len(next(iter(feeds.values())))):
        inputs = [feeds[name][row : row + 1] for name in job["inputs"]]
        outputs = rknn.inference(inputs=inputs, data_format="nhwc" if job["mean"] is not None else "nchw")
        if outputs is None:
            raise ConverterError("the simulator returned nothing")
        results.append(outputs)
    stacked: dict[str, Any] = {
        str(i): np.concatenate([np.asarray(row[i]) for row in results]) for i in range(len(results[0]))
    }
    np.savez(job["outputs"], **stacked)


def check(code: int | None, problem: str) -> None:
    if code != 0:
        raise ConverterError(problem)


def main() -> int:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    problem, ranges = None, {}
    try:
        ranges = convert_without_broken_rules(job)
    except ConverterError as exc:
        problem = str(exc)
    except Exception as exc:  # noqa: BLE001  # the parent reports any converter error as one line
        text = str(exc)  # messages contain whole tracebacks; the last line has the reason
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        problem = f"{type(exc).__name__}: {lines[-1] if lines else 'no message'}"
    Path(job["result"]).write_text(json.dumps({"problem": problem, "ranges": ranges}), encoding="utf-8")
    return 0 if problem is None else 1


if __name__ == "__main__":
    sys.exit(main())
