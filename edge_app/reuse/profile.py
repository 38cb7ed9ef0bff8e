"""The reuse profile of a model on a camera: `state_dir/tune/<model>.yaml`, written by `edge-app tune`.

It holds the tolerances, the verdict, and the evidence for them. They do not depend on the machine, so the file may be
copied from the machine that ran `edge-app tune` to the camera.
Not here: costs, which do depend on it (cost_file.py); tuning (bench/tune.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import yaml

from edge_app.config.reuse import Mode
from edge_app.model.manifest import Manifest
from edge_app.options import WRONG, Range, read_dataclass
from edge_app.options.document import Problems, load_yaml


@dataclass(frozen=True, slots=True)
class ReuseProfile:
    """verdict: the highest mode that is allowed; `off`: reuse does not pay for this model on this camera.

    noise: of the camera, gray levels. tolerance: as in ReuseConfig. share, feature_tolerance: as in Propagation.
    evidence: what was measured, by name; `frames` is the number of frames it was measured on.
    """

    verdict: Mode = "auto"
    noise: Annotated[float, Range(0)] | None = None
    tolerance: Annotated[float, Range(0, 255)] | None = None
    share: Annotated[float, Range(0, 1)] | None = None
    feature_tolerance: Annotated[float, Range(0)] | None = None
    evidence: dict[str, float] = field(default_factory=dict)

    @property
    def frames(self) -> int:
        """The number of frames that the profile was measured on; 0 if it was not measured."""
        return int(self.evidence.get("frames", 0))


def model_key(manifest: Manifest) -> str:
    """Identifies a model: the hash of its graphs' hashes and its input, hexadecimal."""
    text = "\n".join(f"{name} {manifest.sha256.get(name, '')}" for name in sorted(manifest.files()))
    return hashlib.sha256(f"{text} {manifest.input}".encode()).hexdigest()


def path(state_dir: Path, manifest: Manifest) -> Path:
    """The file with the profile of a model."""
    return state_dir / "tune" / f"{model_key(manifest)}.yaml"


def load(file: Path) -> ReuseProfile:
    """Read a file; an empty profile if it does not exist. Raises ConfigError with every mistake, a line each.

    Files of older releases also hold `costs`, without the machine they were measured on. Those are ignored.
    """
    if not file.exists():
        return ReuseProfile()
    problems = Problems(file)
    node = load_yaml(file, problems)
    if node is not None:
        node.value = [(key, value) for key, value in node.value if key.value != "costs"]
    read = read_dataclass(node, ReuseProfile, "", problems)
    problems.raise_if_any()
    return ReuseProfile() if read is WRONG else read


def save(file: Path, profile: ReuseProfile) -> None:
    """Write a file atomically. Raises OSError."""
    write_yaml(file, "Measured by edge-app tune. Delete it to use the defaults.", asdict(profile))


def write_yaml(file: Path, comment: str, values: Mapping[str, Any]) -> None:
    """Write values other than None and {} as YAML, under a comment, atomically. Raises OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    present = {name: value for name, value in values.items() if value not in (None, {})}
    staged = file.with_suffix(".new")
    staged.write_text(f"# {comment}\n{yaml.safe_dump(present, sort_keys=False)}", encoding="utf-8")
    staged.replace(file)
