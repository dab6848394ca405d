"""Backbone, neck and embedder (images → embeddings); class head (embeddings + class weights → loss terms)."""
