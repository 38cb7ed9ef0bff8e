"""The model compiler, host only: ONNX files in, a model folder that proves itself out. README.md explains it."""
