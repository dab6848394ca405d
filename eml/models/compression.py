"""Compression of embeddings after the network: a projection to fewer dimensions, and the grid they are rounded to.

It is part of a checkpoint: config.json says which one, compression.safetensors has the numbers of the projection.
"""

import json
from hashlib import blake2b
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from eml.config import Strict
from eml.errors import CheckpointError
from eml.retrieval.pca import Pca

FILE = "compression.safetensors"
Projection = Literal["none", "truncation", "pca", "whitening"]
Storage = Literal["float32", "float16", "int8", "binary"]
BITS: dict[Storage, int] = {"float32": 32, "float16": 16, "int8": 8, "binary": 1}
"""Bits of a number."""


class CompressionFacts(Strict):
    """The key `compression` of config.json.

    Attributes:
        name: The choice, as `eml compress` calls it.
        projection: none; truncation: the first numbers; pca: principal components; whitening: these, each divided by
            its standard deviation.
        storage: The grid that the embeddings are rounded to.
        network_size: The embedding size of the network.
        size: The embedding size D afterwards.
        learnt_from: The table that the projection was learnt from; null: nothing was learnt.
        images: The number of its images.
        digest: Of the numbers of the projection.
    """

    name: str
    projection: Projection
    storage: Storage
    network_size: int = Field(ge=1)
    size: int = Field(ge=1)
    learnt_from: str | None = None
    images: int | None = None
    digest: str = ""


class Compression:
    """A projection of embeddings after the network, y = M (x − mean), scaled to length 1, and their rounding.

    Args:
        facts: What it is.
        mean: (network size,) float32, subtracted first; None: nothing is.
        matrix: (D, network size) float32; None: the first D numbers are kept.
    """

    def __init__(self, facts: CompressionFacts, mean: Tensor | None = None, matrix: Tensor | None = None) -> None:
        self.mean, self.matrix = mean, matrix
        self.facts = facts.model_copy(update={"digest": self._digest()})

    @property
    def size(self) -> int:
        """The embedding size D afterwards."""
        return self.facts.size

    @property
    def bytes_per_image(self) -> int:
        """The bytes of an embedding whose numbers are stored as small as `storage` says."""
        return -(-self.size * BITS[self.facts.storage] // 8)

    @property
    def after(self) -> str:
        """What a fingerprint says of it: all that decides the numbers, but no names."""
        facts = self.facts
        return json.dumps([facts.projection, facts.storage, facts.network_size, facts.size, facts.digest])

    def apply(self, embeddings: Tensor) -> Tensor:
        """Return (B, D) float32 embeddings of those of the network (B, network size), which are of unit length."""
        return rounded(self.project(embeddings), self.facts.storage)

    def project(self, embeddings: Tensor) -> Tensor:
        """Return (B, D) float32 unit vectors that are not rounded yet."""
        values = embeddings.float()
        if self.mean is not None:
            values = values - self.mean.to(values.device)
        values = values[:, : self.size] if self.matrix is None else values @ self.matrix.to(values.device).T
        return torch.nn.functional.normalize(values)

    def tensors(self) -> dict[str, Tensor]:
        """Return the numbers of the projection by name."""
        named = {"mean": self.mean, "matrix": self.matrix}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def write(self, folder: Path) -> None:
        """Write the numbers into a checkpoint's folder, if there are any."""
        if tensors := self.tensors():
            (folder / FILE).write_bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}))

    def _digest(self) -> str:
        hashed = blake2b(digest_size=16)
        for name, tensor in sorted(self.tensors().items()):
            hashed.update(json.dumps([name, list(tensor.shape)]).encode())
            hashed.update(tensor.float().contiguous().cpu().numpy().tobytes())
        return hashed.hexdigest() if self.tensors() else ""


def read_compression(folder: Path, facts: CompressionFacts) -> Compression:
    """Return the compression of a checkpoint folder whose config.json has these facts.

    Raises:
        CheckpointError: The file of its numbers is missing, damaged or of another compression.
    """
    file = folder / FILE
    tensors: dict[str, Tensor] = {}
    if facts.digest:
        try:
            tensors = load_file(file)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{file}: cannot be read: {error}", code="damaged-file") from error
    compression = Compression(facts, tensors.get("mean"), tensors.get("matrix"))
    if compression.facts.digest != facts.digest or set(tensors) - {"mean", "matrix"}:
        raise CheckpointError(f"{file}: is not that of the config.json beside it", code="damaged-file")
    return compression


def projection_of(pca: Pca) -> tuple[Tensor, Tensor]:
    """Return mean and matrix of a compression by principal components."""
    return pca.mean.float(), pca.matrix().float()


def rounded(embeddings: Tensor, storage: Storage) -> Tensor:
    """Return unit vectors (B, D) rounded to the grid of a storage, as float32.

    - float16: each number to the nearest float16; the length stays 1 within 0.0005.
    - int8: the vector's numbers as whole ones from −127 to 127, the largest being 127, and scaled to length 1 again.
    - binary: each number as its sign, +1 or −1, divided by √D.

    Rounding what is on the grid already gives the same numbers, so that codes can be had from embeddings.
    """
    match storage:
        case "float32":
            return embeddings
        case "float16":
            return embeddings.half().float()
        case "int8":
            whole: Tensor = torch.nn.functional.normalize(int8_codes(embeddings).float())
            return whole
        case "binary":
            signs: Tensor = torch.where(embeddings < 0, -1.0, 1.0) / embeddings.shape[1] ** 0.5
            return signs


def int8_codes(embeddings: Tensor) -> Tensor:
    """Return (B, D) int8 whole numbers in the direction of embeddings (B, D), as they would be stored."""
    largest = embeddings.abs().amax(1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    return torch.round(embeddings / largest * 127).to(torch.int8)


def binary_codes(embeddings: Tensor) -> Tensor:
    """Return (B, ⌈D/8⌉) uint8, the signs of embeddings (B, D) as bits, the first number in the highest bit."""
    bits = (embeddings >= 0).to(torch.uint8)
    bits = torch.nn.functional.pad(bits, (0, -bits.shape[1] % 8)).view(len(bits), -1, 8)
    weights = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8, device=bits.device)
    codes: Tensor = (bits * weights).sum(2, dtype=torch.uint8)
    return codes
