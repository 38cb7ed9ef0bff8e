"""Fuzzing of every parser: the targets, the test of them, and a runner for atheris."""
