"""The command line: `edge-app COMMAND`.

parser.py        the parser, `main` and the exit codes
commands/        one module per command: its arguments and its call
arguments.py     arguments that several commands share
check.py         the work of `edge-app check`; model_check.py runs the model in a limited process
doctor.py        the work of `edge-app doctor`; power.py: governors and frequencies
speed.py         estimated frame rates on a board, for `edge-app check`
replay.py        the work of `edge-app replay`
embedder.py      embeddings of pictures, for `edge-app gallery`
gallery_session.py, gallery_file.py, gallery_report.py  the work of `edge-app gallery`
gallery_check.py the galleries, for `edge-app check`
demo.py          the demo: the default configuration with its model and clip
memory_limit.py  the memory that this process may take
findings.py      findings of check and doctor, as a table and as JSON
"""

from edge_app.cli.parser import main

__all__ = ["main"]
