"""Work that is cut into shards, each done anywhere and at any time, and merged to the same bytes."""
