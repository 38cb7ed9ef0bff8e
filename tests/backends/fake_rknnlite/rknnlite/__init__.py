"""A fake rknn-toolkit-lite2; tests/backends/README.md lists what it does not prove."""
