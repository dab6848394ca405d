"""The embedded blocks of all shards in the order of the list of images, as `eml embed` writes them."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from eml.dataset.scanning.listing import FileProblem
from eml.inference.embed_images import CONTENT, EmbeddedImages
from eml.inference.image_list import ImageList, unusable_rows
from eml.models.fingerprint import Fingerprint
from eml.progress import Progress
from eml.sharding.block_file import CONTENT_BYTES, BlockStore
from eml.sharding.blocks import RowBlock


def gathered(
    images: ImageList, blocks: Sequence[RowBlock], store: BlockStore, fingerprint: Fingerprint, progress: Progress
) -> EmbeddedImages:
    """Return the embeddings of all blocks, each image at its place in the list.

    Raises:
        KeyError: The store lacks a block.
        ValueError: A file of the store has changed.
    """
    count = len(images)
    embeddings = np.zeros((count, fingerprint.size), np.float32)
    contents = np.zeros((count, CONTENT_BYTES), np.uint8)
    problems: dict[int, tuple[str, str]] = {}
    with progress("merging", count) as advance:
        for block in blocks:
            embedded = store.read(block.name)
            rows = list(block.rows)
            embeddings[rows], contents[rows] = embedded.embeddings, embedded.contents
            problems |= {rows[place]: why for place, why in embedded.problems.items()}
            advance(len(rows))
    good = np.array([row for row in range(count) if row not in problems], np.int64)
    kept = images.frame.iloc[good].reset_index(drop=True)
    kept = kept.assign(content=[bytes(content).hex() for content in contents[good]])
    first = ["file_name", "label", CONTENT]
    kept = kept[[*first, *(name for name in kept.columns if name not in first)]]
    names = images.frame["file_name"].tolist()
    unreadable = [FileProblem(names[row], *problems[row]) for row in sorted(problems)]
    errors = pd.concat([images.unusable, unusable_rows(unreadable)], ignore_index=True)
    whole = embeddings if len(good) == count else embeddings[good]
    return EmbeddedImages(torch.from_numpy(whole), kept, errors, 0, len(good), 0.0, fingerprint)
