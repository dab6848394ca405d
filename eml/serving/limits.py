"""Bounds of what a server takes from one request, and of what it keeps waiting."""

from dataclasses import dataclass, fields

from eml.errors import ConfigError
from eml.units import MIB

CPU_BATCH, GPU_BATCH = 4, 32
"""Images that a network computes at once where nothing else is said: see docs/benchmarks_serving.md."""


def batch_of(device: str) -> int:
    """Return how many images are computed at once on a device: few where a larger batch is no quicker, as on a CPU."""
    return CPU_BATCH if device == "cpu" else GPU_BATCH


@dataclass(frozen=True)
class ServingLimits:
    """Bounds of requests and of the queue.

    Attributes:
        body_bytes: Of a request's body.
        image_bytes: Of one encoded image.
        pixels: Of one image, by its header.
        items: Images and texts of one request.
        seconds: That a request may take from its arrival.
        queue: Images and texts of all requests that wait or are computed.
        queue_bytes: Their bytes, as they were sent.
        batch: Images that the network computes at once; None: by the device, as `batch_of` says.
        wait_ms: Milliseconds that a batch waits for images that are still decoded.
        k: Neighbours of a query.
        where_chars: Characters of a condition.
        text_chars: Characters of a text, label or file name.
        decoders: Threads that decode images.

    Raises:
        ConfigError: A bound is not positive, or the queue cannot take a whole request.
    """

    body_bytes: int = 32 * MIB
    image_bytes: int = 16 * MIB
    pixels: int = 50_000_000
    items: int = 64
    seconds: float = 30.0
    queue: int = 256
    queue_bytes: int = 256 * MIB
    batch: int | None = None
    wait_ms: float = 5.0
    k: int = 1000
    where_chars: int = 2000
    text_chars: int = 2000
    decoders: int = 2

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None and field.name == "batch":
                continue
            if not (value > 0 or (field.name == "wait_ms" and value == 0)):
                raise ConfigError(
                    f"`{field.name}` must be above 0, got {value}", code="out-of-range", parameter=field.name
                )
        for part, whole in (("items", "queue"), ("body_bytes", "queue_bytes")):
            if getattr(self, part) > getattr(self, whole):
                text = (
                    f"`{whole}` must take a whole request, at least `{part}`, {getattr(self, part):,}, got "
                    f"{getattr(self, whole):,}"
                )
                raise ConfigError(text, code="out-of-range", parameter=whole)
