"""Imports point down only, and importing does nothing."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "edge_app"
PLUGINS = {"sources": 1, "backends": 1, "heads": 1, "sinks": 1, "analytics": 2}
LAYER = {
    0: "__init__ memory frame errors clock config manifest manifest_checks registry boxes options document messages "
    "device backoff blocks rule_blocks service_blocks reuse_block assignment shapes secret",
    2: "geometry preprocess network inference cascade tracking rules publish capture clip_reader stillness timing "
    "worker reuse web outbox delivery changes engine faults ladder sensors notify logs control snapshots heap",
    3: "pipeline draw",
    4: "cli host_cli arguments daemon proof replay check doctor",
}
LAYER_OF = {name: layer for layer, names in LAYER.items() for name in names.split()}
HOST_ONLY = ("compiler", "bench")
HEAVY = ("cv2", "onnxruntime", "onnx", "paho", "requests", "aiohttp", "numpy", "yaml")


def module_files() -> list[Path]:
    return sorted(path for path in PACKAGE.rglob("*.py"))


def area(path: Path) -> str:
    """`edge_app/sources/rtsp.py` -> `sources`; `edge_app/frame.py` -> `frame`."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(path: Path) -> set[tuple[str, bool]]:
    """The project's modules that a file imports, and whether at module level."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    checking = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    typing_only = {id(node) for block in checking for node in ast.walk(block)}
    found: set[tuple[str, bool]] = set()
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.ImportFrom) and node.module == "edge_app":
            found |= {(f"edge_app.{alias.name}", id(node) not in inside) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("edge_app."):
            found.add((node.module, id(node) not in inside))
        elif isinstance(node, ast.Import):
            found |= {(a.name, id(node) not in inside) for a in node.names if a.name.startswith("edge_app.")}
    return found


def layer(name: str) -> int | None:
    first = name.split(".")[1] if "." in name else name
    return PLUGINS.get(first, LAYER_OF.get(first))


@pytest.mark.parametrize("path", module_files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_its_own_layer_or_below(path: Path):
    own = area(path)
    if own in HOST_ONLY:
        return
    assert layer(own) is not None, f"{path.name} stands in no layer: add it to this test"
    for name, at_module_level in imported(path):
        target = name.split(".")[1] if "." in name else name
        if target in HOST_ONLY:
            assert own == "host_cli", f"{path.name} imports {name}, which a device does not have"
            assert not at_module_level, f"host_cli imports {name} when it is itself imported"
        elif target != "__version__":
            assert layer(name) is not None, f"{name} stands in no layer: add it to this test"
            assert layer(name) <= layer(own), f"{path.name} (layer {layer(own)}) imports {name} (layer {layer(name)})"


@pytest.mark.parametrize("path", module_files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_plug_ins_never_import_one_another(path: Path):
    own = path.relative_to(PACKAGE).with_suffix("").parts
    if own[0] not in PLUGINS or own[-1] == "__init__":
        return
    for name, _ in imported(path):
        parts = name.split(".")[1:]
        if parts[0] in PLUGINS and len(parts) > 1 and not parts[1].startswith("_"):
            module = PACKAGE.joinpath(*parts[:2]).with_suffix(".py")
            assert not module.exists() or parts[:2] == list(own[:2]), f"{path.name} imports the plug-in {name}"


def test_importing_the_package_imports_nothing_heavy():
    script = "import sys, edge_app; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not [name for name in HEAVY if name in modules]


def test_the_command_line_imports_nothing_heavy_before_a_command_is_chosen():
    script = "import sys, edge_app.cli; edge_app.cli._parser(); print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not [name for name in HEAVY if name in modules]


def test_importing_every_module_starts_no_thread_and_opens_no_library_of_a_plug_in():
    """Plug-ins import their own library in their constructor: a device's configuration can be checked anywhere."""
    script = """
import importlib, pkgutil, sys, threading, edge_app
for module in pkgutil.walk_packages(edge_app.__path__, "edge_app."):
    if not module.name.startswith(("edge_app.compiler", "edge_app.bench")):
        importlib.import_module(module.name)
assert threading.active_count() == 1, threading.enumerate()
print(*sys.modules)
"""
    modules = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    libraries = ("onnxruntime", "onnx", "rknnlite", "paho", "serial", "requests", "aiohttp", "tqdm", "torch")
    assert not [name for name in libraries if name in modules]
