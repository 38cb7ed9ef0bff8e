"""Adds the demo to the wheel: config.yaml and models/digits as edge_app/demo. The repository holds these files once.

Everything else about the package is in pyproject.toml.
"""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PROJECT = Path(__file__).resolve().parent
LEFT_OUT = ("README.md", "sample.png", "sample.truth.jsonl")  # of the model folder: documentation and test data


class BuildWithDemo(build_py):
    """An editable installation gets no copy: it finds the demo in the checkout."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        demo = Path(self.build_lib) / "edge_app/demo"
        shutil.rmtree(demo, ignore_errors=True)  # left by an earlier build
        shutil.copytree(PROJECT / "models/digits", demo / "models/digits", ignore=shutil.ignore_patterns(*LEFT_OUT))
        shutil.copyfile(PROJECT / "config.yaml", demo / "config.yaml")


setup(cmdclass={"build_py": BuildWithDemo})
