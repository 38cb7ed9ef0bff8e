"""The present state of rules, heads, camera and device, for sinks that publish it as retained topics.

board.py   the present values by topic; what each sink has not published yet
budget.py  how much state all sinks together may publish in a second
values.py  the published values of a head's result, of the camera and of the device

State is derived from what the pipeline knows now, never from the last event. Not here: collecting it
(daemon/present_state.py), topics and connections (sinks/).
"""

from edge_app.state.board import StateBoard, StateFeed
from edge_app.state.budget import Budget

__all__ = ["Budget", "StateBoard", "StateFeed"]
