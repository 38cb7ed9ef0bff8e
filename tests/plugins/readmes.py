"""The plug-ins in the READMEs of the five plug-in packages, as installed packages outside the repository."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, save

from tests.conftest import PROJECT

KINDS = ("sources", "backends", "heads", "rules", "sinks")


@dataclass(frozen=True)
class Example:
    """A README's plug-in, its packaging and its test. module: the name of its file."""

    kind: str
    module: str
    code: str
    packaging: str
    test: str

    @property
    def type(self) -> str:
        """The type in config.yaml, from the entry point."""
        return re.search(r'\[project\.entry-points\."edge_app\.\w+"\]\n(\w+) = ', self.packaging)[1]


def example(kind: str) -> Example:
    """The plug-in in edge_app/<kind>/README.md."""
    readme = (PROJECT / "edge_app" / kind / "README.md").read_text(encoding="utf-8")
    section = readme.split("\n## Write your own\n")[1]
    code, test = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    (packaging,) = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)
    (module,) = re.findall(r'^py-modules = \["(\w+)"\]', packaging, re.MULTILINE)
    return Example(kind, module, code, packaging, test)


def write_project(example: Example, folder: Path) -> Path:
    """The package's source folder, as its author has it."""
    folder.mkdir()
    (folder / f"{example.module}.py").write_text(example.code, encoding="utf-8")
    (folder / "pyproject.toml").write_text(example.packaging, encoding="utf-8")
    (folder / f"test_{example.module}.py").write_text(example.test, encoding="utf-8")
    return folder


def install_projects(projects: list[Path], target: Path) -> None:
    """Install packages into a folder as their pyproject.toml says. pip is not used: it needs `wheel` or a network."""
    target.mkdir()
    steps = ["egg_info", "--egg-base", str(target), "build_py", "--build-lib", str(target)]
    for project in projects:
        command = [sys.executable, "-c", "import setuptools; setuptools.setup()", "--quiet", *steps]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=project)
        assert done.returncode == 0, done.stderr


def install(folder: Path, name: str, module: str, code: str | None, entry_points: str) -> None:
    """Write an installed package: a module, unless code is None, and its metadata."""
    folder.mkdir(exist_ok=True)
    if code is not None:
        (folder / f"{module}.py").write_text(code, encoding="utf-8")
    info = folder / f"{name.replace('-', '_')}-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1\n", encoding="utf-8")
    (info / "entry_points.txt").write_text(entry_points, encoding="utf-8")


def edge_app(installed: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the command line with the packages of `installed`."""
    environ = {**os.environ, "PYTHONPATH": f"{PROJECT}{os.pathsep}{installed}"}
    command = [sys.executable, "-m", "edge_app.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environ, cwd=installed)


def write_ssd_model(folder: Path) -> Path:
    """A model of the README's head: its graph returns one car and one row below every threshold, for any image."""
    folder.mkdir()
    rows = np.array([[[[0, 1, 0.9, 0.25, 0.25, 0.75, 0.75], [0, 1, 0, 0, 0, 1, 1]]]], np.float32)
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["brightest"], keepdims=1),
        helper.make_node("Mul", ["brightest", "zero"], ["nothing"]),
        helper.make_node("Add", ["nothing", "rows"], ["list"]),
    ]
    constants = [
        helper.make_tensor("rows", TensorProto.FLOAT, rows.shape, rows.ravel().tolist()),
        helper.make_tensor("zero", TensorProto.FLOAT, [1], [0.0]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, 32, 32])
    found = helper.make_tensor_value_info("list", TensorProto.FLOAT, [1, 1, 2, 7])
    graph = helper.make_graph(nodes, "ssd", [image], [found], constants)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), str(folder / "a.onnx"))
    (folder / "model.yaml").write_text(
        "format: 1\nname: cars\ninput: {width: 32, height: 32}\n"
        "heads: {cars: {family: my_ssd, graph: {onnx: a.onnx}, labels: [background, car], options: {score: 0.4}}}\n",
        encoding="utf-8",
    )
    return folder


def write_config(kind: str, folder: Path) -> Path:
    """A configuration with the plug-in of a README, for two frames."""
    source, model, rest = "{type: synthetic, pace: fast, frames: 30}", f"{{path: {PROJECT}/models/digits}}", ""
    if kind == "sources":
        np.full(2 * 96 * 64 * 3 // 2, 90, np.uint8).tofile(folder / "two.nv12")
        source = "{type: raw_nv12, path: two.nv12, width: 96, height: 64}"
    if kind == "backends":
        model = f"{{path: {PROJECT}/models/digits, backend: gpu}}"
    if kind == "heads":
        model = f"{{path: {write_ssd_model(folder / 'model')}}}"
    if kind == "rules":
        model = f"{{path: {write_ssd_model(folder / 'model')}}}"
        rest = "rules:\n  - {name: seen, type: presence, head: cars, label: car, for_s: 0.2}\n"
    sink = "{type: csv, path: events.csv}" if kind == "sinks" else "{type: jsonl, path: out.jsonl}"
    if kind == "sinks":
        rest = "rules:\n  - {name: camera, type: scene, head: scene, after_s: 0.1}\n"
    path = folder / "config.yaml"
    text = (
        f"device: {{id: cam}}\nsource: {source}\nmodel: {model}\n{rest}publish: {{results: all}}\nsinks:\n  - {sink}\n"
    )
    path.write_text(text, encoding="utf-8")
    return path
