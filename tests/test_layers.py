"""The layers: which package may import which. There is no circle, and importing a module has no side effect.

`pytest tests/test_layers.py -s` prints how many packages, layers and imports there are.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "edge_app"
PLUGINS = ("sources", "backends", "heads", "rules", "sinks")
HOST_ONLY = ("evaluation", "compiler", "slim", "bench")
HEAVY = ("cv2", "onnxruntime", "onnx", "paho", "requests", "aiohttp", "numpy", "yaml")

# A package (or module) of edge_app -> what it may import. Plug-ins that it reaches through the registry count.
MAY_IMPORT = {
    "errors": "",
    "frame": "",
    "clock": "",
    "backoff": "",
    "threads": "",
    "terminal": "",
    "device": "errors",
    "geometry": "errors frame",
    "options": "errors",
    "boards": "errors options",
    "messages": "frame",
    "schedule": "options",
    "state": "frame",
    "totals": "errors frame clock options schedule",
    "registry": "errors options",
    "gallery": "errors options",
    "backends": "errors options",
    "sources": "errors frame clock network options",
    "network": "errors clock options",
    "dialects": "errors frame options messages",
    "sinks": "errors frame clock network options messages dialects state",
    "heads": "errors frame geometry options backends",
    "rules": "errors frame geometry options gallery",
    "model": "errors frame geometry options registry boards backends heads",
    "config": "errors frame geometry options schedule registry backends sources sinks heads rules model",
    "commands": "errors options registry heads rules config",
    "tracking": "frame geometry config",
    "capture": "errors frame clock backoff threads geometry registry sources config",
    "reuse": "errors frame geometry options backends model config",
    "inference": "options errors frame backoff threads geometry registry backends heads model config reuse",
    "outbox": "errors frame clock options messages config",
    "publish": "errors frame clock backoff messages registry sinks config outbox totals state commands",
    "pipeline": "errors frame clock backoff device messages schedule rules config tracking capture reuse"
    " inference publish state",
    "drawing": "errors frame messages rules",
    "web": "errors frame options messages rules config commands drawing",
    "clips": "errors frame messages config",
    "daemon": "errors frame clock config clips inference pipeline web totals state commands",
    "cli": "errors frame clock device options messages registry boards backends sources sinks model config capture"
    " reuse inference outbox publish pipeline drawing daemon schedule totals terminal clips commands gallery heads",
    "analytics": "rules",
    "evaluation": "frame geometry tracking inference",
    "compiler": "errors frame geometry options registry backends sources heads model reuse inference evaluation",
    "slim": "errors frame terminal geometry options registry backends heads model compiler evaluation bench",
    "bench": "errors frame clock backoff geometry options messages registry backends sources sinks heads"
    " rules model config tracking reuse inference outbox publish pipeline evaluation terminal daemon",
    "__main__": "cli",
    "__init__": "",
}
LAZY = {"cli": ("compiler", "bench", "slim")}  # imported inside functions only: a device does not have them


def module_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def area(path: Path) -> str:
    """`edge_app/sources/rtsp.py` -> `sources`; `edge_app/frame.py` -> `frame`."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def dotted(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path: Path) -> set[tuple[str, bool]]:
    """The packages that a file imports, plug-in kinds it names to the registry too, and whether when it is imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    functions = [n for n in ast.walk(tree) if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef))]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    found: set[tuple[str, bool]] = set()
    for node in ast.walk(tree):
        eager = id(node) not in inside
        if isinstance(node, ast.ImportFrom) and node.module == "edge_app":
            found |= {(alias.name, eager) for alias in node.names if alias.name != "__version__"}
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("edge_app."):
            found.add((str(node.module).split(".")[1], eager))
        elif isinstance(node, ast.Import):
            found |= {(a.name.split(".")[1], eager) for a in node.names if a.name.startswith("edge_app.")}
    if any(name == "registry" for name, _ in found):
        kinds = {n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and n.value in PLUGINS}
        found |= {(str(kind), True) for kind in kinds}
    return {(name, eager) for name, eager in found if name != area(path)}


def graph() -> dict[str, set[str]]:
    edges: dict[str, set[str]] = {}
    for path in module_files():
        edges.setdefault(area(path), set()).update(name for name, _ in imports_of(path))
    return edges


def layers(edges: dict[str, set[str]]) -> dict[str, int]:
    """Each package's layer: one above the highest that it imports. Raises AssertionError on a circle."""
    found: dict[str, int] = {}

    def layer(name: str, way: tuple[str, ...] = ()) -> int:
        assert name not in way, f"a circle: {' -> '.join([*way, name])}"
        if name not in found:
            found[name] = 1 + max((layer(each, (*way, name)) for each in edges.get(name, ())), default=-1)
        return found[name]

    for name in edges:
        layer(name)
    return found


@pytest.mark.parametrize("path", module_files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_what_the_map_allows(path: Path):
    own = area(path)
    assert own in MAY_IMPORT, f"{own} is not in the map: add it, with what it may import"
    for name, eager in imports_of(path):
        if name in LAZY.get(own, ()):
            assert not eager, f"{path.name} imports {name} when it is itself imported; a device does not have {name}"
        else:
            assert name in MAY_IMPORT[own].split(), f"{own} may not import {name} (in {path.name})"


def test_there_is_no_circle():
    edges = graph()
    found = layers(edges)
    imports = sum(map(len, edges.values()))
    print(f"\n{len(edges)} packages, {max(found.values()) + 1} layers, {imports} imports between packages, 0 circles")
    for number in range(max(found.values()) + 1):
        print(f"  {number}: {' '.join(sorted(name for name in found if found[name] == number))}")


def test_modules_inside_a_package_import_no_circle():
    """At module level, TYPE_CHECKING included."""
    names = {
        ".".join(p.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__") for p in module_files()
    }
    edges: dict[str, set[str]] = {}
    for path in module_files():
        own = dotted(path)
        tree = ast.parse(path.read_text(encoding="utf-8"))
        if path.name == "__init__.py" and area(path) not in PLUGINS:
            continue  # re-exports
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("edge_app"):
                targets = {f"{node.module}.{alias.name}" for alias in node.names} & names
                edges.setdefault(own, set()).update(targets or {str(node.module)})
    layers(edges)


def test_the_map_allows_no_more_than_is_used():
    edges = graph()
    unused = {own: set(allowed.split()) - edges.get(own, set()) for own, allowed in MAY_IMPORT.items() if own in edges}
    assert not {own: names for own, names in unused.items() if names}


@pytest.mark.parametrize("path", module_files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_plug_ins_never_import_one_another(path: Path):
    own = path.relative_to(PACKAGE).with_suffix("").parts
    if own[0] not in PLUGINS or own[-1] == "__init__":
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
        parts = module.split(".")[1:]
        if parts and parts[0] in PLUGINS and len(parts) > 1 and not parts[1].startswith("_"):
            target = PACKAGE.joinpath(*parts[:2]).with_suffix(".py")
            assert not target.exists() or tuple(parts[:2]) == own[:2], f"{path.name} imports the plug-in {module}"


def modules_after(statement: str) -> list[str]:
    script = f"import sys, threading\n{statement}\nassert threading.active_count() == 1\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_importing_the_package_imports_nothing_heavy():
    assert not set(HEAVY) & set(modules_after("import edge_app"))


def test_the_command_line_imports_nothing_heavy_before_a_command_is_chosen():
    assert not set(HEAVY) & set(modules_after("import edge_app.cli.parser; edge_app.cli.parser._parser()"))


def test_importing_every_module_starts_no_thread_and_opens_no_library_of_a_plug_in():
    """Plug-ins import their own library in their constructor: a device's configuration can be checked anywhere."""
    files = [path for path in module_files() if area(path) not in HOST_ONLY and path.stem != "__main__"]
    script = f"import importlib\nfor name in {[dotted(path) for path in files]!r}:\n    importlib.import_module(name)\n"
    libraries = {"onnxruntime", "onnx", "rknnlite", "paho", "serial", "requests", "aiohttp", "tqdm", "torch"}
    assert not libraries & set(modules_after(script))
