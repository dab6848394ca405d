"""The composed config and the training run."""
