"""The inventory of a fleet: its cameras, how they are reached, and the model and configuration of each.

    defaults: {user: root, port: 22, board: rk3588, model: models/digits, config: camera.yaml}   # all optional
    cameras:
      - {name: gate, host: 10.0.0.11}
      - {name: dock, host: dock.example, config: dock.yaml, canary: true}

Paths are relative to the file. Needs python3-yaml. Not here: the rollout (fleet.py).
"""

from __future__ import annotations

import hashlib
import re
import sys
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
if str(PROJECT) not in sys.path:
    sys.path.insert(0, str(PROJECT))

import yaml  # noqa: E402

from edge_app.options import WRONG, options_of, read_dataclass, read_options  # noqa: E402
from edge_app.options.document import Problems, entries, load_yaml  # noqa: E402

MAX_CAMERAS = 100_000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
_HOST = re.compile(r"[A-Za-z0-9:][A-Za-z0-9.:%_-]{0,252}")  # a leading dash would be an option of ssh


@dataclass(frozen=True)
class Camera:
    """One camera. host: name or address. board: "" is detected. canary: updated before those that are not."""

    name: str
    host: str
    user: str = "root"
    port: int = 22
    board: str = ""
    model: Path = PROJECT / "models/digits"
    config: Path | None = None
    canary: bool = False

    @property
    def target(self) -> str:
        return f"{self.user}@{self.host}"

    def config_sha256(self) -> str:
        """The hash of its configuration; "" without one. Raises OSError."""
        return hashlib.sha256(self.config.read_bytes()).hexdigest() if self.config else ""


def read(path: Path) -> list[Camera]:
    """All cameras, canaries first, else in the order of the file. Raises ConfigError with every mistake."""
    problems = Problems(path)
    blocks = entries(load_yaml(path, problems))
    problems.raise_if_any()
    for name in blocks.keys() - {"defaults", "cameras"}:
        problems.add(blocks[name], f"unknown block '{name}'; expected defaults and cameras")
    defaults, listed = blocks.get("defaults"), blocks.get("cameras")
    shared = [option for option in options_of(Camera) if option.name not in ("name", "host", "canary")]
    read_options(defaults, shared, "defaults", problems)
    if not isinstance(listed, yaml.SequenceNode) or not 0 < len(listed.value) <= MAX_CAMERAS:
        problems.add(listed, f"cameras: expected a list of 1 to {MAX_CAMERAS:,} cameras")
    problems.raise_if_any()
    assert isinstance(listed, yaml.SequenceNode)
    cameras = _cameras(listed, defaults, problems)
    problems.raise_if_any()
    return sorted(cameras, key=lambda camera: not camera.canary)


def _cameras(listed: yaml.SequenceNode, defaults: yaml.Node | None, problems: Problems) -> list[Camera]:
    cameras: list[Camera] = []
    names: set[str] = set()
    targets: dict[tuple[str, int], str] = {}
    for i, node in enumerate(listed.value):
        camera = read_dataclass(_completed(node, defaults), Camera, f"cameras[{i}]", problems)
        if camera is WRONG:
            continue
        for text in _mistakes(camera):
            problems.add(node, f"cameras[{i}].{text}")
        if camera.name in names:
            problems.add(node, f"cameras[{i}].name: found a second '{camera.name}'; expected each name once")
        other = targets.setdefault((camera.host, camera.port), camera.name)
        if other != camera.name:
            problems.add(node, f"cameras[{i}].host: found {camera.host} port {camera.port}, which is '{other}'")
        names.add(camera.name)
        cameras.append(camera)
    return cameras


def _completed(node: yaml.Node, defaults: yaml.Node | None) -> yaml.Node:
    """The entry of a camera with the defaults that it does not give."""
    if not isinstance(node, yaml.MappingNode) or not isinstance(defaults, yaml.MappingNode):
        return node
    own = entries(node)
    pairs = [pair for pair in defaults.value if pair[0].value not in own]
    return yaml.MappingNode(node.tag, [*node.value, *pairs], node.start_mark, node.end_mark)


def _mistakes(camera: Camera) -> list[str]:
    found = []
    for name, pattern in {"name": _NAME, "host": _HOST, "user": _USER}.items():
        value = getattr(camera, name)
        if not pattern.fullmatch(value):
            found.append(f"{name}: found {value[:80]!r}; expected {pattern.pattern}")
    if not 0 < camera.port < 1 << 16:
        found.append(f"port: found {camera.port}; expected 1 to 65535")
    if camera.config is not None and not camera.config.is_file():
        found.append(f"config: {camera.config}: no such file")
    if not (camera.model / "model.yaml").is_file():
        found.append(f"model: {camera.model}: found no model.yaml; expected a model folder")
    return found
