"""Tables of pictures: scan, filter, split, fold. Table in, table out; no torch."""
