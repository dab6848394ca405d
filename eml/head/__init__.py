"""The class head: embeddings and labels to the loss."""
