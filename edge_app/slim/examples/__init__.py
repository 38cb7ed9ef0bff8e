"""Tasks for `edge-app slim shrink` on public data."""
