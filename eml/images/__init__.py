"""Images: the one decode path, preprocessing, augmentation, loading."""
