"""Publishing: what of a frame goes upstream, and to which sinks.

publisher.py  fan-out
delivery.py   one worker a sink
changes.py    whether a result differs from the last published one
"""

from edge_app.publish.publisher import Publisher, PublishStats, SinkStats, build_sinks

__all__ = ["PublishStats", "Publisher", "SinkStats", "build_sinks"]
