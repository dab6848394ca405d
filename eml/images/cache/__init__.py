"""A cache of decoded images, in the form in which a run reads them.

A folder contains any number of caches, each in a folder named after a digest of its settings:

header.json   the settings
data.bin      the images one after the other; it is only ever appended to
index.bin     the place of each image: blocks of entries, each with a checksum and written after its images
lock          locked by the process that fills the cache
owner         the number of that process
"""

from eml.images.cache.fill import FillResult, fill
from eml.images.cache.settings import CacheKind, CacheSettings, StoredFormat
from eml.images.cache.source import CachedSource
from eml.images.cache.store import CacheStore, caches

__all__ = ["CacheKind", "CacheSettings", "CacheStore", "CachedSource", "FillResult", "StoredFormat", "caches", "fill"]
