"""What is known of one model on this device and this camera: `state_dir/tune/<sha256 of the model>.yaml`.

Costs are measured at first start or by `edge-app tune`; tolerances and the verdict come from `edge-app tune` alone,
with the evidence that they rest on. Not here: measuring (features.py), tuning.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import yaml

from edge_app.config.reuse import Mode
from edge_app.model.manifest import Manifest
from edge_app.options import WRONG, Range, read_dataclass
from edge_app.options.document import Problems, load_yaml
from edge_app.reuse.costs import Cost, Costs

_LOG = logging.getLogger(__name__)
Milliseconds = Annotated[float, Range(0)]


@dataclass(frozen=True, slots=True)
class StoredCost:
    """A step's cost: milliseconds for a call, and for the whole area."""

    a: Milliseconds
    b: Milliseconds


@dataclass(frozen=True, slots=True)
class Measured:
    """Costs as the file has them."""

    dense: Milliseconds
    look: Milliseconds
    units: dict[str, StoredCost]
    plan: Milliseconds = 0.5


@dataclass(frozen=True, slots=True)
class Tuned:
    """verdict: the most that is allowed; `off` is "not for this model on this camera".

    noise: of this camera, grey levels. tolerance: as in Reuse. share, feature_tolerance: as in features.Following.
    evidence: what was measured, by name, for people.
    """

    costs: Measured | None = None
    verdict: Mode = "auto"
    noise: Annotated[float, Range(0)] | None = None
    tolerance: Annotated[float, Range(0, 255)] | None = None
    share: Annotated[float, Range(0, 1)] | None = None
    feature_tolerance: Annotated[float, Range(0)] | None = None
    evidence: dict[str, float] = field(default_factory=dict)

    def machine_costs(self) -> Costs | None:
        """The costs, where they were measured."""
        if self.costs is None:
            return None
        units = {name: Cost(unit.a, unit.b) for name, unit in self.costs.units.items()}
        return Costs(self.costs.dense, units, self.costs.look, self.costs.plan)


def measured(costs: Costs) -> Measured:
    """Costs as they are written."""
    units = {name: StoredCost(round(cost.a, 4), round(cost.b, 4)) for name, cost in costs.units.items()}
    return Measured(round(costs.dense, 4), round(costs.look, 4), units, round(costs.plan, 4))


def path(state_dir: Path, manifest: Manifest) -> Path:
    """Where the file of a model lies. A model is known by the hashes of its graphs."""
    text = "\n".join(f"{name} {manifest.sha256.get(name, '')}" for name in sorted(manifest.files()))
    return state_dir / "tune" / f"{hashlib.sha256(f'{text} {manifest.input}'.encode()).hexdigest()}.yaml"


def load(file: Path) -> Tuned:
    """Read a file; without one nothing is known. Raises ConfigError with every mistake, a line each."""
    if not file.exists():
        return Tuned()
    problems = Problems(file)
    read = read_dataclass(load_yaml(file, problems), Tuned, "", problems)
    problems.raise_if_any()
    return Tuned() if read is WRONG else read


def measure_once(state_dir: Path, manifest: Manifest, measure: Callable[[], Costs | None]) -> None:
    """At the first start of a model on a device: measure what its steps take, and keep it.

    Raises ConfigError where the file is damaged; one that cannot be written is measured again at the next start.
    """
    file = path(state_dir, manifest)
    known = load(file)
    if known.costs is not None:
        return
    costs = measure()
    if costs is None:
        return
    try:
        save(file, replace(known, costs=measured(costs)))
    except OSError as exc:
        _LOG.warning("%s: cannot be written: %s; costs of reuse are measured again at the next start", file, exc)


def save(file: Path, tuned: Tuned) -> None:
    """Write a file, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = "# Measured on this device by edge_app; delete it to measure anew.\n"
    text += yaml.safe_dump(_plain(asdict(tuned)), sort_keys=False)
    staged = file.with_suffix(".new")
    staged.write_text(text, encoding="utf-8")
    staged.replace(file)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value not in (None, {})}
