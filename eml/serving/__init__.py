"""A model, or an index with its model, that answers over HTTP: the engine, and the application around it."""
