"""The durable queue between results and sinks.

queue.py      Outbox: what is accepted is delivered to every sink, in order, at least once
pending.py    what is in memory only         store.py      one SQLite file
disk.py       when the disk refuses          sequence.py   numbers that are used once
gap.py        what was lost, and told        view.py       edge-app outbox {stats,list,drop}
"""

from edge_app.outbox.queue import Outbox, OutboxStats

__all__ = ["Outbox", "OutboxStats"]
