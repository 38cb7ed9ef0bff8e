"""Publishing: which messages a frame causes, and how they reach the sinks.

publisher.py      results, events and statuses become messages
result_filter.py  which frames' results are published: `publish.results`
changes.py        whether a result differs from the last published one
upstream.py       what the cameras of a process share: sinks, outbox, event log
transport.py      through the outbox (`run`) or directly (`replay`)
open_events.py    ends the events that a process left when it died
delivery.py       one thread for each sink: sends from the outbox, retries
build.py          construct the configured sinks
"""

from edge_app.publish.build import build_sinks
from edge_app.publish.publisher import Publisher, PublishStats
from edge_app.publish.transport import SinkStats

__all__ = ["PublishStats", "Publisher", "SinkStats", "build_sinks"]
