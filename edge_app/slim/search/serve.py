"""The storage of a search for workers on other machines: optuna's gRPC proxy over a journal or a database.

It has no login: bind it to an address that only the workers reach.
"""

from __future__ import annotations

import socket
import sys
import warnings

from edge_app.errors import ConfigError
from edge_app.slim.search import study


def serve(where: str, host: str, port: int) -> None:
    """Serve until interrupted. where: a journal, or a database by its URL. Raises ConfigError."""
    from optuna.storages import run_grpc_proxy_server

    store = _database(where) if "://" in where else study.storage(where)
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            raise ConfigError(f"--listen: {host}:{port}: {exc.strerror}; expected a free address") from exc
    print(f"serving {where} on grpc://{host}:{port}", file=sys.stderr, flush=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # optuna calls the proxy experimental
        run_grpc_proxy_server(store, host=host, port=port)


def _database(url: str) -> object:
    from optuna.storages import RDBStorage

    try:
        return RDBStorage(url)
    except Exception as exc:  # SQLAlchemy and drivers raise many types, with the URL in their messages
        kind = url.partition("://")[0]
        raise ConfigError(
            f"--storage: the {kind} database cannot be opened; expected a running one and its driver"
        ) from exc
