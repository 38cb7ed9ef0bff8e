"""The inference engine of several cameras: each graph is loaded once, so its weights are in memory once.

What belongs to a camera (schedules, filters, cached features, results) stays in its own Inference (stage.py).
Not here: who runs next (scheduler.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from threading import Lock
from typing import Any, ClassVar

from edge_app.backends import Backend, Graph, Session
from edge_app.config import ModelConfig
from edge_app.inference.engine import open_backend
from edge_app.inference.scheduler import Scheduler, Seat
from edge_app.model.manifest import Manifest

_Key = tuple[object, ...]
_ON_CPUS = ("onnx", "int8", "ncnn")  # a second run at the same time takes the memory of its maps


class SharedEngines:
    """The engines in use, one for each model folder and its options. scheduler: of the turns on all of them.

    Thread-safe. open_: builds an engine.
    """

    def __init__(self, scheduler: Scheduler, open_: Callable[[Manifest, ModelConfig], Backend] = open_backend) -> None:
        self.scheduler = scheduler
        self._open = open_
        self._lock = Lock()
        self._engines: dict[_Key, _Engine] = {}

    def lease(self, manifest: Manifest, model: ModelConfig) -> Lease:
        """The engine of a model, opened if it is not in use. Raises as `open_backend` does."""
        key = (manifest.folder, model.backend, model.precision, model.threads)
        with self._lock:
            engine = self._engines.setdefault(key, _Engine())
        lease = Lease(engine, lambda: self._open(manifest, model))
        most: int = getattr(lease, "parallel", 1)
        usual = 1 if lease.target in _ON_CPUS else most
        self.scheduler.slots = min(most, model.parallel or usual)
        return lease

    def retire(self, lease: Lease) -> None:
        """Give up an engine that fails: the next `lease` opens another one; the others learn of it by `retired`."""
        with self._lock:
            lease.engine.retired = True
            self._engines = {key: engine for key, engine in self._engines.items() if engine is not lease.engine}


class _Engine:
    """An engine with its loaded graphs, and how many use each of them."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.retired = False
        # The lock guards everything below.
        self.backend: Backend | None = None
        self.leases = 0
        self.graphs: dict[_Key, tuple[Session, int]] = {}


class Lease:
    """One camera's use of an engine; a Backend. `close` releases what only this camera used."""

    preference: ClassVar[int] = 0

    def __init__(self, engine: _Engine, open_: Callable[[], Backend]) -> None:
        self.engine = engine
        with engine.lock:
            if engine.backend is None:
                engine.backend = open_()
            engine.leases += 1
            self._backend: Backend = engine.backend
        self._open = True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    @staticmethod
    def available(targets: Collection[str]) -> bool:
        """Always: it is open."""
        return bool(targets)

    @property
    def target(self) -> str:
        return self._backend.target

    @property
    def version(self) -> str:
        return self._backend.version

    @property
    def retired(self) -> bool:
        """Whether the engine has failed for another camera."""
        return self.engine.retired

    def load(self, graph: Graph, keep: Collection[str] = ()) -> Session:
        """As a Backend does. A graph that is loaded already is used again."""
        key = _key(graph, keep)
        with self.engine.lock:
            session, users = self.engine.graphs.get(key) or (self._backend.load(graph, keep), 0)
            self.engine.graphs[key] = session, users + 1
        return _SharedSession(session, lambda: self._release(key))

    def close(self) -> None:
        """Safe to call twice."""
        if not self._open:
            return
        self._open = False
        engine = self.engine
        with engine.lock:
            engine.leases -= 1
            if engine.leases:
                return
            graphs, backend = engine.graphs, engine.backend
            engine.graphs, engine.backend = {}, None
        for session, _ in graphs.values():
            session.close()
        if backend is not None:
            backend.close()

    def _release(self, key: _Key) -> None:
        with self.engine.lock:
            session, users = self.engine.graphs.get(key, (None, 0))
            if session is None:
                return
            if users > 1:
                self.engine.graphs[key] = session, users - 1
                return
            del self.engine.graphs[key]
        session.close()


class _SharedSession:
    """A loaded graph that other cameras may use too."""

    def __init__(self, session: Session, release: Callable[[], None]) -> None:
        self._session = session
        self._release: Callable[[], None] | None = release
        self.inputs, self.outputs = session.inputs, session.outputs
        self.run = session.run

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def close(self) -> None:
        """Safe to call twice."""
        release, self._release = self._release, None
        if release is not None:
            release()


def _key(graph: Graph, keep: Collection[str]) -> _Key:
    """What makes two graphs the same: their files, unchanged, and the features that stay in the engine."""
    parts = [graph] if graph.weights is None else [graph, graph.weights]
    return (frozenset(keep), *((part.path, part.sha256, _version(part.path)) for part in parts))


def _version(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:  # loading it reports that
        return None
    return found.st_mtime_ns, found.st_size


class EngineShare:
    """What the inference of one camera shares with that of the others: the engine and its turns.

    priority: of the camera. notify: called on the inference thread when a result is there.
    """

    def __init__(self, engines: SharedEngines, priority: int, notify: Callable[[], None]) -> None:
        self._engines, self.notify = engines, notify
        self.seat: Seat = engines.scheduler.seat(priority)
        self._lease: Lease | None = None

    def open_backend(self, manifest: Manifest, model: ModelConfig) -> Backend:
        """As `open_backend` of engine.py."""
        self._lease = self._engines.lease(manifest, model)
        return self._lease

    @property
    def retired(self) -> bool:
        """Whether the engine has failed for another camera, so that the model has to be opened again."""
        return self._lease is not None and self._lease.retired

    def record_failure(self, *, hung: bool, attempt: int) -> None:
        """Inference failed. attempt: how many times in a row it did before.

        An engine that hangs, or fails again when the model was built again, is given up for all cameras.
        """
        if hung:
            self.seat.forfeit()
        if (hung or attempt) and self._lease is not None:
            self._engines.retire(self._lease)
