"""Keep freed memory in the process: glibc gives the memory of large tensors back to the system at every step."""

import ctypes
import os
import platform
from functools import cache

SWITCH = "EML_MALLOC"
"""Environment variable: `default` leaves the allocator as it is."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Parameters of mallopt(3)."""
MMAP_THRESHOLD, TRIM_THRESHOLD = 2**30, 2**31 - 1  # bytes


@cache
def keep_freed_memory() -> bool:
    """Raise the thresholds above which malloc takes memory from the system and gives it back; return whether it did.

    Otherwise each step of a network on the CPU asks the system anew for its activations, and the system fills them with
    zeros first. The results are the same bits; the process keeps up to some hundred MiB more. Only for glibc; it acts
    on what is allocated afterwards, so it is called before a network is built.
    """
    if os.environ.get(SWITCH) == "default" or platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD) and mallopt(M_TRIM_THRESHOLD, TRIM_THRESHOLD))
