"""The durable queue between the pipeline and the sinks.

queue.py      Outbox: add messages, read the next ones for a sink, acknowledge them
state.py      what is known in memory about all messages; one lock
pending.py    messages that are in memory only
cursors.py    how far each sink has got
gap.py        lost messages, until they are reported
writer.py     the thread that commits to disk and retries
store.py      the SQLite file
disk.py       locks the folder, opens the file, replaces a damaged one
event_log.py  the events that are open, for the next process
sequence.py   message numbers that are never used twice
view.py       edge-app outbox {stats,list,drop}
"""

from edge_app.outbox.queue import Outbox, OutboxStats

__all__ = ["Outbox", "OutboxStats"]
