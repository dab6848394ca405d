"""Arrays that processes share: they are sent in shared memory with torch, and as copies where it is not imported."""

import pickle
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch

from eml.images.shared_arrays import SharedArrays

ARRAYS = {"offsets": np.arange(1 << 16), "names": np.frombuffer(b"a.png", np.uint8).copy()}


def test_what_is_sent_to_a_process_does_not_grow_with_the_arrays() -> None:
    assert torch.get_num_threads()  # it is imported
    sent = bytes(ForkingPickler.dumps(SharedArrays(ARRAYS)))
    assert len(sent) < 2_000
    received = pickle.loads(sent)
    for name, array in ARRAYS.items():
        np.testing.assert_array_equal(received[name], array)


def test_they_are_copied_where_torch_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eml.images.shared_arrays.is_imported", lambda package: False)
    received = pickle.loads(pickle.dumps(SharedArrays(ARRAYS)))
    assert received.arrays.keys() == ARRAYS.keys()
    np.testing.assert_array_equal(received["offsets"], ARRAYS["offsets"])
