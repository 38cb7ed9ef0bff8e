"""Totals: how many objects crossed each line and entered each zone, by hour and day, kept over restarts.

counter.py   counts the events of a running camera, and writes them at most once a minute
store.py     the file
report.py    edge-app totals: as a table, CSV or JSON
"""

from edge_app.totals.counter import Totals

__all__ = ["Totals"]
