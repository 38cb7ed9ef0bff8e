"""The daemon: what `edge-app run` does around the pipeline.

loop.py           start, run until told to stop, stop in order
systemd.py        ready, watchdog, reload
status_socket.py  the Unix socket of `edge-app status`
health_file.py    what the updater reads
snapshots.py      pictures of events
logs.py           journal, JSON or text
heap.py           memory given back to the system
"""

from edge_app.daemon.loop import Daemon, Outcome, run

__all__ = ["Daemon", "Outcome", "run"]
