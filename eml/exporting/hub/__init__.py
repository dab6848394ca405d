"""One folder that timm, sentence-transformers, transformers and eml load, and the way to the hub."""
