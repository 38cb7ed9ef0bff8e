"""The command line: `edge-app COMMAND`.

parser.py     the parser and the exit codes
arguments.py  what several commands take
host.py       host-only commands: their packages are imported when they are called
check.py      edge-app check
doctor.py     edge-app doctor
replay.py     edge-app replay
"""

from edge_app.cli.parser import main

__all__ = ["main"]
