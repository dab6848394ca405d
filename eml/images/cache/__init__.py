"""Images that were decoded once and are kept in the form that a run reads them in.

A folder holds any number of caches, each in a folder named after a digest of its settings:

header.json   the settings
data.bin      one image after the other, only ever appended to
index.bin     which image lies where: blocks of entries, each block with a checksum, written after its images
lock          held by the process that fills the cache
"""

from eml.images.cache.fill import Filled, fill
from eml.images.cache.settings import Kind, Settings, StoredFormat
from eml.images.cache.source import CachedSource
from eml.images.cache.store import Store, caches

__all__ = ["CachedSource", "Filled", "Kind", "Settings", "Store", "StoredFormat", "caches", "fill"]
