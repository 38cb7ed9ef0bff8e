"""`python -m edge_app`: the command line."""

import sys

from edge_app.cli import main

sys.exit(main())
