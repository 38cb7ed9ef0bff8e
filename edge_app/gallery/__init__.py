"""Galleries: the people that a camera knows, each by embeddings of pictures of them.

people.py    a gallery in memory; search by one matrix product
file.py      its file in state_dir: format, limits, damage
cipher.py    encryption of the file with a key
rates.py     error rates by threshold, from embeddings of several people
Not here: embeddings of pictures and the command (cli/), events (rules/identity.py).
"""

from edge_app.gallery.file import load, path_of
from edge_app.gallery.people import Gallery, Person

__all__ = ["Gallery", "Person", "load", "path_of"]
