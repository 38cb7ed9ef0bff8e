"""A device in a folder, for tests of the updater, and the keys that sign for it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

FIRMWARE = Path(__file__).parents[2] / "firmware_bundle"
sys.path[:0] = [str(FIRMWARE), str(FIRMWARE / "updater")]

import build  # noqa: E402  (made importable here)
import slots  # noqa: E402


def make_keys(folder: Path) -> dict[str, Path]:
    """Private keys by name; the public keys are next to them."""
    names = ("ours", "next", "stranger")
    for name in names:
        build.make_key(folder / f"{name}.pem")
    return {name: folder / f"{name}.pem" for name in names}


class Camera:
    """A device in a folder: its updater, and bundles built for it."""

    def __init__(self, folder: Path, keys: dict[str, Path]) -> None:
        self.root, self.data = folder / "root", folder / "data"
        self.keys = keys
        self.boot_id = "boot-1"
        (self.root / "keys").mkdir(parents=True)
        self.data.mkdir()
        self.trust("ours")
        wipe = [str(self.data), str(self.root / "credentials")]
        (self.root / "device.json").write_text(json.dumps({"board": "amd64", "wipe": wipe}))

    @property
    def slots(self) -> slots.Slots:
        return slots.Slots(self.root, self.boot_id)

    def trust(self, *names: str) -> None:
        for old in (self.root / "keys").glob("*.pem"):
            old.unlink()
        for name in names:
            shutil.copy(self.keys[name].with_suffix(".pub.pem"), self.root / "keys" / f"{name}.pem")

    def bundle(self, version: str = "1.0", key: str = "ours", **fields) -> Path:
        """A bundle whose files differ from those of every other version."""
        files = {
            "start": (f"#!/bin/sh\necho {version}\n".encode(), True),
            "lib/edge_app/__init__.py": (f"__version__ = '{version}'\n".encode(), False),
            "models/m/graph.onnx": (version.encode() * 60_000, False),
        }
        return self.write(build.pack(files, {"version": version, "board": "amd64", **fields}, self.keys[key]))

    def write(self, data: bytes) -> Path:
        path = self.root.parent / "the.bundle"
        path.write_bytes(data)
        return path

    def run(self, version: str, **fields) -> str:
        """Install a version, start it and keep it. Returns the release."""
        release, _ = self.slots.install(self.bundle(version, **fields))
        assert self.slots.boot()[0] == release
        assert self.slots.mark_good() == release
        return release

    def tree(self) -> dict[str, object]:
        """Everything under the root but the lock: file contents and link targets."""
        found = {}
        for path in sorted(self.root.rglob("*")):
            name = str(path.relative_to(self.root))
            found[name] = path.readlink() if path.is_symlink() else path.read_bytes() if path.is_file() else "folder"
        found.pop("lock", None)
        return found


def current(camera: Camera) -> str:
    """The name of the release that the last start chose."""
    return (camera.root / "current").readlink().name
