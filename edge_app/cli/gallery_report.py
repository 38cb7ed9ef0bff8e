"""`edge-app gallery test`: the threshold for a rate of false accepts, from pictures of the user's own people.

Not here: the rates (edge_app/gallery/rates.py).
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from edge_app.cli import embedder
from edge_app.cli.gallery_session import Session
from edge_app.errors import ConfigError
from edge_app.gallery import rates
from edge_app.gallery.people import Float32, joined
from edge_app.sources import IMAGE_SUFFIXES


def tested(session: Session, folder: Path | None, far: float, *, as_json: bool) -> str:
    """The report, as text. Raises ConfigError if there are too few pictures for the rate."""
    people, skipped = (_enrolled(session), 0) if folder is None else _from_folder(session, folder)
    pictures = sum(map(len, people))
    where = session.path if folder is None else folder
    if len(people) < 2:
        raise ConfigError(f"{where}: found {len(people)} people; expected two at least")
    if pictures * far < 1:
        needed = round(1 / far + 0.4999)
        raise ConfigError(f"{where}: found {pictures} pictures; a rate of {far:g} needs {needed} at least")
    trials = rates.trials(people)
    threshold = trials.threshold(far)
    error, _ = rates.equal_error_rate(people)
    report: dict[str, Any] = {
        "people": len(people),
        "pictures": pictures,
        "skipped": skipped,
        "threshold": threshold,
        "far": far,
        "false_accepts": trials.false_accepts(threshold),
        "false_rejects": trials.false_rejects(threshold) if len(trials.members) else None,
        "equal_error_rate": error if len(trials.members) else None,
        "rank_1": rates.rank_1(people) if len(trials.members) else None,
    }
    return json.dumps(report) if as_json else _table(report)


def _enrolled(session: Session) -> list[Float32]:
    gallery = session.gallery(model=embedder.fingerprint(session.config, session.spec))
    if not gallery.people:
        raise ConfigError(f"{session.path}: the gallery is empty; expected people: edge-app gallery add, or FOLDER")
    return [person.embeddings for person in gallery.people]


def _from_folder(session: Session, folder: Path) -> tuple[list[Float32], int]:
    """The embeddings of each person, and how many pictures have no usable face; each is one line on stderr."""
    try:
        listed = sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError as exc:
        raise ConfigError(f"{folder}: cannot be read: {exc.strerror}; expected a folder of people") from exc
    people, skipped = [], 0
    with embedder.opened(session.config, session.spec) as opened:
        for person in listed:
            found = []
            for path in sorted(path for path in person.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES):
                try:
                    found.append(opened.face(path).embedding)
                except embedder.NoFace as exc:
                    print(f"skipped: {exc}", file=sys.stderr)
                    skipped += 1
            if found:
                people.append(joined(found))
    return people, skipped


def _table(report: dict[str, Any]) -> str:
    def percent(name: str) -> str:
        return "unknown: nobody has two pictures" if report[name] is None else f"{100 * report[name]:.2f} %"

    skipped = f", {report['skipped']} without a usable face" if report["skipped"] else ""
    rows = [
        ("pictures", f"{report['pictures']} of {report['people']} people{skipped}"),
        ("threshold", f"{report['threshold']:.3f}, for at most {100 * report['far']:g} % of false accepts"),
        ("false accepts", f"{percent('false_accepts')} of {report['pictures']} searches by strangers"),
        ("false rejects", f"{percent('false_rejects')}, with the other pictures of the person enrolled"),
        ("equal error rate", f"{percent('equal_error_rate')} of pairs of pictures"),
        ("rank 1", f"{percent('rank_1')}, with one picture of each person enrolled"),
    ]
    return "\n".join(f"{name:17} {text}" for name, text in rows)
