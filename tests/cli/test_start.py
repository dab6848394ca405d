"""Commands start without what only networks need: stored embeddings are measured, cleaned and searched without timm."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

HEAVY = {"timm", "torchvision", "torch.distributed.fsdp", "torch.distributed.tensor", "torch._dynamo"}
"""Of which each takes between a third of a second and two seconds of a processor to import."""

# One process for all: what one of them imports is seen after it.
WORK = """
import json, os, sys
import numpy as np
from eml.cli.app import main
os.chdir(sys.argv[1])

def evaluate():
    assert main(["evaluate", "photos.npz", "--data", "photos.csv", "--out", "evaluated"]) == 0

def suspects():
    assert main(["suspects", "photos.npz", "--out", "suspects"]) == 0

def search():
    import eml.indexing.index
    from eml.indexing.store import IndexStore
    with IndexStore.create("shop.index", size=4) as store:
        store.add(np.eye(4, dtype=np.float32))
        assert store.search(np.eye(4, dtype=np.float32)[:1], 1).ids.shape == (1, 1)

def margins():
    from eml.head.functional import margin_loss

seen = {}
for work in (search, suspects, evaluate, margins):
    work()
    seen[work.__name__] = sorted(sys.modules)
print(json.dumps(seen), file=sys.stderr)
"""


@pytest.mark.wide
def test_work_on_stored_embeddings_imports_nothing_of_networks(tmp_path: Path) -> None:
    labels, names = [f"c{row // 4}" for row in range(24)], [f"{row}.png" for row in range(24)]
    for name in names:
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    pd.DataFrame({"file_name": names, "label": labels}).to_csv(tmp_path / "photos.csv", index=False)
    embeddings = np.random.default_rng(0).normal(size=(24, 4)).astype(np.float32)
    np.savez(tmp_path / "photos.npz", embeddings=embeddings, label=labels, file_name=names)
    done = subprocess.run([sys.executable, "-c", WORK, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for work, modules in json.loads(done.stderr.splitlines()[-1]).items():
        assert not HEAVY & set(modules), work
        assert work not in ("search", "suspects") or "scipy.stats" not in modules  # later ones need scikit-learn
