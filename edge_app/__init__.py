"""On-device vision runtime: camera frames in, structured results out. Importing it does nothing."""

__version__ = "0.1.0"
