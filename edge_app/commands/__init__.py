"""Commands from a broker or the page: `rules/plaza` with `OFF`, or with `{"value": "OFF", "id": "7", "persist": true}`.

parsing.py  the table of commands; topic and payload -> Command
limits.py   how many commands are accepted
inbox.py    from the threads of sinks and page to the daemon's loop, and answers back
changes.py  commands as a patch of the configuration
store.py    Save and Undo: config.yaml in place, or overrides.yaml; atomic_file.py: how both are written
undo.py     the last saved changes, also over a restart

A command takes effect between two frames, and until the next start unless it has `persist`.
Not here: topics (sinks/_mqtt_commands.py), HTTP (web/commands.py), executing (daemon/commands.py).
"""

from edge_app.commands.inbox import Answer, Inbox, Pending
from edge_app.commands.parsing import Command, CommandError, parse

__all__ = ["Answer", "Command", "CommandError", "Inbox", "Pending", "parse"]
