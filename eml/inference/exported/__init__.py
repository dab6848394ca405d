"""Models that have left eml: files of ONNX and the like, which answer without torch."""
