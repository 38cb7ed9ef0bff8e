"""`python -m edge_app.cli`: the same as `python -m edge_app`."""

import sys

from edge_app.cli import main

sys.exit(main())
