"""The former name of edge_app.rules; kept so that rules written for it still import."""

from edge_app.rules import Moment, Overlay, Point, Rule, RuleContext

__all__ = ["Moment", "Overlay", "Point", "Rule", "RuleContext"]
