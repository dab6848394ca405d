"""Random numbers as a pure function of their position, without the state of a generator."""

import hashlib

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def uniform(key: int, positions: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Return (len(positions), count) numbers in [0, 1) that depend only on the key, the position and the column.

    SplitMix64 (Steele 2014, OOPSLA, fig. 14) started at a mix of key and position: a whole batch takes a few vector
    operations, while a generator for each image takes longer than a small image's crop.
    """
    start = _mix(np.uint64(key % 2**64) + (positions.astype(np.uint64) + np.uint64(1)) * _GOLDEN)  # (B,)
    steps = np.arange(1, count + 1, dtype=np.uint64) * _GOLDEN
    words = _mix(start[:, None] + steps)  # (B, count)
    return np.asarray((words >> np.uint64(11)) * 2.0**-53, np.float64)


def key_of(*numbers: int) -> int:
    """Derive one key from several non-negative numbers, such as a seed and an epoch."""
    first, second = np.random.SeedSequence(numbers).generate_state(2, np.uint32)
    return int(first) << 32 | int(second)


class Bits(np.random.PCG64):
    """A bit generator that is restarted for each image. Setting its state takes a seventh of the time of a new one."""

    def start(self, seed: int) -> None:
        """Set the state that belongs to this seed, whatever was drawn before."""
        digest = hashlib.blake2b(seed.to_bytes(8, "little"), digest_size=16).digest()
        self.state = {
            "bit_generator": type(self).__name__,  # numpy checks it
            "state": {"state": int.from_bytes(digest, "little"), "inc": 1},
            "has_uint32": 0,
            "uinteger": 0,
        }


def _mix(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))
