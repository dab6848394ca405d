"""Tables of images: scan, filter, split, fold. Table in, table out; no torch."""
