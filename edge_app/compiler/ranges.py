"""The range of every activation over calibration images, by extremes, percentiles or divergence.

Not here: quantizing graphs, and choosing the method (quantize.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edge_app.compiler.net import Net
from edge_app.compiler.session import HostSession
from edge_app.frame import UInt8

METHODS = ("minmax", "percentile 99.999", "percentile 99.99", "kl")
_BINS = 2048
_LEVELS = 256
_SAMPLES = 16_384  # of a tensor and image: enough for percentiles, at a tenth of the time
_CANDIDATES = np.linspace(0.2, 1.0, 33)


@dataclass(frozen=True, slots=True)
class TensorRange:
    """The range of a tensor that int8 represents. means: of each channel, for maps (N, C, H, W) only."""

    low: float
    high: float
    means: NDArray[np.float64] | None = None


Ranges = dict[str, TensorRange]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Values of one tensor: `counts` in equal bins between low and high; means as in TensorRange."""

    low: float
    high: float
    counts: NDArray[np.int64]
    means: NDArray[np.float64] | None

    def range(self, method: str) -> tuple[float, float]:
        """The range (low, high) by one of METHODS."""
        if method == "minmax" or self.high <= self.low:
            return self.low, self.high
        kind, _, percent = method.partition(" ")
        return self._percentile(1 - float(percent) / 100) if kind == "percentile" else self._divergence()

    def _percentile(self, outside: float) -> tuple[float, float]:
        """outside: the share of values to clip, half at either end."""
        share = np.cumsum(self.counts) / max(1, self.counts.sum())
        first = int(np.searchsorted(share, outside / 2))
        last = int(np.searchsorted(share, 1 - outside / 2))
        return self._edge(first), self._edge(min(last, _BINS - 1) + 1)

    def _divergence(self) -> tuple[float, float]:
        """The range whose 256 levels have the least Kullback-Leibler divergence; both ends shrink in proportion."""
        best, chosen = np.inf, (self.low, self.high)
        for share in _CANDIDATES:
            low, high = min(0.0, self.low * share), max(0.0, self.high * share)
            loss = self._loss(low, high)
            if loss < best:
                best, chosen = loss, (low, high)
        return chosen

    def _loss(self, low: float, high: float) -> float:
        centers = self.low + (np.arange(_BINS) + 0.5) * (self.high - self.low) / _BINS
        level = np.clip((centers - low) / max(high - low, 1e-12) * _LEVELS, 0, _LEVELS - 1).astype(np.int64)
        inside = (centers >= low) & (centers <= high)
        counts = self.counts.copy()
        counts[np.argmin(np.abs(centers))] = 0  # zeros, frequent after ReLU, are exact in any range
        p = counts * inside
        clipped = np.bincount(level, counts * ~inside, _LEVELS)
        reference = p.astype(np.float64)
        edges = (int(np.argmax(inside)), _BINS - 1 - int(np.argmax(inside[::-1])))
        reference[edges[0]] += clipped[: _LEVELS // 2].sum()
        reference[edges[1]] += clipped[_LEVELS // 2 :].sum()
        filled = np.bincount(level[p > 0], minlength=_LEVELS)
        mean = np.bincount(level, p, _LEVELS) / np.maximum(filled, 1)
        q = np.where(p > 0, mean[level], 0.0)
        q = np.maximum(q / max(q.sum(), 1e-12), 1e-12)
        reference /= max(reference.sum(), 1e-12)
        some = reference > 0
        return float(np.sum(reference[some] * np.log(reference[some] / q[some])))

    def _edge(self, index: int) -> float:
        return self.low + index * (self.high - self.low) / _BINS


def measure(net: Net, pixels: Iterable[UInt8]) -> dict[str, Histogram]:
    """Histograms of every float tensor. pixels: images (H, W, 3) uint8."""
    values = net.values()
    names = [
        output
        for node in net.nodes
        for output in node.outputs
        if output in values and values[output].dtype == "float32"
    ]
    watched = net.copy()
    watched.outputs = names
    session = HostSession(watched.serialize(), optimize=False)
    images = list(pixels)
    low, high = _extremes(session, images)
    counts = np.zeros((len(names), _BINS), np.int64)
    sums: list[NDArray[np.float64] | None] = [None] * len(names)
    factors = _BINS / np.maximum(high - low, 1e-12)
    for image in images:
        for i, array in enumerate(session.run(image[None])):
            flat = array.ravel()[:: max(1, array.size // _SAMPLES)]
            index = np.minimum(((flat - low[i]) * factors[i]).astype(np.int64), _BINS - 1)
            counts[i] += np.bincount(np.maximum(index, 0), minlength=_BINS)
            if array.ndim == 4:
                mean = array.mean(axis=(0, 2, 3), dtype=np.float64) / len(images)
                before = sums[i]
                sums[i] = mean if before is None else before + mean
    return {name: Histogram(float(low[i]), float(high[i]), counts[i], sums[i]) for i, name in enumerate(names)}


def _extremes(session: HostSession, images: list[UInt8]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The least and greatest value of every output over the images."""
    low, high = np.full(len(session.outputs), np.inf), np.full(len(session.outputs), -np.inf)
    for image in images:
        arrays = session.run(image[None])
        low = np.minimum(low, [array.min(initial=np.inf) for array in arrays])
        high = np.maximum(high, [array.max(initial=-np.inf) for array in arrays])
    return low, high


def from_histograms(histograms: dict[str, Histogram], method: str) -> Ranges:
    """The range of every tensor by one method. It always contains zero, which must be representable."""
    by_tensor = {}
    for name, histogram in histograms.items():
        low, high = histogram.range(method)
        by_tensor[name] = TensorRange(min(low, 0.0), max(high, 0.0), histogram.means)
    return by_tensor
