"""Fewer bits: float16 and int8 of an ONNX file, and the choice between ways by the retrieval on real images."""
