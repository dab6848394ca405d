"""Distillation: a network that also learns from the embeddings of another one, its teacher."""
