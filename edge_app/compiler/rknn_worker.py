"""Convert one graph and run it in the simulator, in the converter's own environment: `python rknn_worker.py job.json`.

Knows nothing of edge_app, which is not installed there. The converter prints its layer table to stdout, which the
parent reads; answers go to job["result"] (JSON) and job["outputs"] (npz). Exit code 0, or 1 with the reason in the
JSON.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def convert(job: dict[str, Any]) -> str | None:
    """Returns what went wrong, or None."""
    import numpy as np
    from rknn.api import RKNN

    rknn = RKNN(verbose=True)
    config = {"target_platform": job["target"], "quantized_algorithm": "normal", "quantized_method": "channel"}
    if job["mean"] is not None:
        config |= {"mean_values": [job["mean"]], "std_values": [job["std"]]}
    if rknn.config(**config) not in (0, None):
        return "config was refused"
    if rknn.load_onnx(model=job["onnx"]) != 0:
        return "load_onnx was refused"
    if rknn.build(do_quantization=True, dataset=job["dataset"]) != 0:
        return "build failed"
    if rknn.export_rknn(job["out"]) != 0:
        return "export_rknn failed"
    if job["feeds"]:
        if rknn.init_runtime() != 0:
            return "the simulator did not start"
        with np.load(job["feeds"]) as file:
            feeds = {name: file[name] for name in file.files}
        results: list[list[Any]] = []
        for row in range(len(next(iter(feeds.values())))):
            inputs = [feeds[name][row : row + 1] for name in job["inputs"]]
            found = rknn.inference(inputs=inputs, data_format="nhwc" if job["mean"] is not None else "nchw")
            if found is None:
                return "the simulator gave nothing"
            results.append(found)
        stacked: dict[str, Any] = {
            str(i): np.concatenate([np.asarray(row[i]) for row in results]) for i in range(len(results[0]))
        }
        np.savez(job["outputs"], **stacked)
    rknn.release()
    return None


def main() -> int:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        problem = convert(job)
    except Exception as exc:  # noqa: BLE001  # whatever the converter throws must reach the parent as a line
        text = str(exc)  # it puts whole tracebacks into messages: the last line counts
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        problem = f"{type(exc).__name__}: {lines[-1] if lines else 'no message'}"
    Path(job["result"]).write_text(json.dumps({"problem": problem}), encoding="utf-8")
    return 0 if problem is None else 1


if __name__ == "__main__":
    sys.exit(main())
