"""Backbone, neck and embedder (pictures → embeddings); class head (embeddings + class weights → loss terms)."""
