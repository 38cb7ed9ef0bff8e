"""The daemon: the part of `edge-app run` around the pipeline.

loop.py           startup, main loop, shutdown
signals.py        SIGTERM, SIGINT, SIGHUP
camera.py         what the daemon does for each camera; services.py: all of them
commands.py       executes commands between two frames
file_watch.py     detects a changed configuration file
systemd.py        notifications to the service manager: ready, watchdog, reload
status_line.py    what the service manager shows
status_socket.py  the Unix socket of `edge-app status`
discovery.py      the sockets of all running daemons
health_file.py    health report for the updater
recordings.py     the snapshots and the clips of a camera
views.py          opens and reopens the web page
snapshots.py      JPEG images of events
present_state.py  what is true now, for sinks that publish it
logs.py           log output: journal, JSON or text
heap.py           settings of the C library's heap
mapped_files.py   releases code that was needed only at start
state_dir.py      keeps state_dir private whatever the umask
"""

from edge_app.daemon.loop import Daemon, Outcome, run

__all__ = ["Daemon", "Outcome", "run"]
