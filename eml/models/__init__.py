"""Images → embeddings: backbone, pooling, neck, and the checkpoint that stores them."""
