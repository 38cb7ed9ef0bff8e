"""Text for the person who waits at a terminal, or who reads a log of it.

progress.py   how far a long command is: a bar on a terminal, else lines
"""

from edge_app.terminal.progress import Progress, over

__all__ = ["Progress", "over"]
