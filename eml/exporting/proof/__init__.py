"""The proof of an exported model: it is compared with its checkpoint on real images, at once.

`images` chooses the images, `prove` runs both models on them, `agreement` compares two arrays of embeddings, `limits`
says what has to hold, `record` is what is kept of it.
"""
