"""The published values of heads, camera and device: JSON objects of bounded size that change only when it matters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from edge_app.frame import Classification, Crops, Detections, HeadOutput, JsonValue, Segmentation, Text

_MAX_LABELS = 20
_MAX_LABEL = 32  # characters
_MAX_TEXT = 200


def counted(counts: Mapping[str, int]) -> dict[str, JsonValue]:
    """Counts by label in the order of the labels; the 20 most frequent ones. Zero counts are left out."""
    most = sorted(((n, label) for label, n in counts.items() if n), key=lambda each: (-each[0], each[1]))
    return {label[:_MAX_LABEL]: n for label, n in sorted((label, n) for n, label in most[:_MAX_LABELS])}


def head_values(output: HeadOutput, labels: Sequence[str]) -> dict[str, JsonValue]:
    """What a head sees: `count` and `labels`, or the `label` with the highest score. Scores are left out."""
    result = output.result
    if isinstance(result, (Detections, Segmentation)):
        found = Counter(result.class_id.tolist())
        return {"count": found.total(), "labels": counted({_label(labels, c): n for c, n in found.items()})}
    if isinstance(result, Classification):
        return {"label": _label(labels, int(result.class_id[0])) if len(result.class_id) else None}
    if isinstance(result, Text):
        return {"text": result.text[:_MAX_TEXT]}
    return {"count": len(result.results)} if isinstance(result, Crops) else {}


def camera_values(state: str, error: str | None, faults: Mapping[str, object], level: str) -> dict[str, JsonValue]:
    """state: of the capture stage. error: its last one. faults: the open ones. level: of degradation."""
    lost = state in ("lost", "frozen")
    return {
        "state": state,
        "problem": lost,
        "error": (error or "")[:_MAX_TEXT] if lost else "",
        "faults": [name[:_MAX_LABEL] for name in sorted(faults)[:_MAX_LABELS]],
        "level": level,
    }


def device_values(
    *, temperature_c: float | None, memory_mb: float | None, frames_per_s: float, queue: int
) -> dict[str, JsonValue]:
    """Rounded, so that noise is not a change. memory_mb: of this process. queue: undelivered messages."""
    return {
        "temperature_c": None if temperature_c is None else round(temperature_c),
        "memory_mb": None if memory_mb is None else round(memory_mb),
        "frames_per_s": round(frames_per_s, 1),
        "queue": queue,
    }


def _label(labels: Sequence[str], class_id: int) -> str:
    return labels[class_id] if 0 <= class_id < len(labels) else str(class_id)
