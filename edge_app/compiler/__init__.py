"""The model compiler, host only: ONNX files of any framework in, a model folder that proves itself out. See README.md."""
