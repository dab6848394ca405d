"""The stages of a run, each measured by classes that were not trained on: the best of them is what the run gives.

untouched network → closed form (within-class whitening of its features) → fine-tuned → finished (whitening of the tuned
embeddings, mean with the pretrained weights, mirrored mean) → refit on all classes.
"""
