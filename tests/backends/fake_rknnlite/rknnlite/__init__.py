"""A stand-in for rknn-toolkit-lite2; see tests/backends/README.md for what it does not prove."""
