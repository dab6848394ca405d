"""A hub folder in three fresh environments without eml: timm, transformers and sentence-transformers load it."""

import json
import subprocess
import sys
import venv
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import numpy as np
import pytest
import torch
from packaging.requirements import Requirement
from PIL import Image

from eml.exporting.hub.folder import write_hub_folder
from tests.exporting.small_models import noise, small_model

COMMON = """
import json, sys
import numpy as np
from PIL import Image
try:
    import eml
except ImportError:
    pass
else:
    raise SystemExit("this environment has eml")
folder, images, out = sys.argv[1:]
pictures = [Image.open(file).convert("RGB") for file in json.loads(images)]
"""
SCRIPTS = {
    "timm": """
import timm, torch
network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))
with torch.no_grad():
    outputs = network(torch.stack([transform(picture) for picture in pictures]))
np.save(out, torch.nn.functional.normalize(outputs).numpy())
""",
    "transformers": """
import torch
from safetensors.torch import load_file
from transformers import AutoImageProcessor, AutoModel
model = AutoModel.from_pretrained(folder).eval()
with torch.no_grad():
    features = model(**AutoImageProcessor.from_pretrained(folder)(pictures)).pooler_output
    dense = load_file(f"{folder}/1_Dense/model.safetensors")
    outputs = torch.nn.functional.linear(features, dense["linear.weight"], dense["linear.bias"])
np.save(out, torch.nn.functional.normalize(outputs).numpy())
""",
    "sentence-transformers": """
from sentence_transformers import SentenceTransformer
model = SentenceTransformer(folder, device="cpu", trust_remote_code=False)
np.save(out, model.encode(pictures, batch_size=len(pictures)))
""",
}
"""Library → how its users load the folder."""
PACKAGES = {
    "timm": ["timm"],
    "transformers": ["transformers", "timm"],
    "sentence-transformers": ["sentence-transformers", "timm"],
}


def shared_torch(folder: Path) -> Path:
    """Link torch, torchvision and what they need into a folder, so that three environments do not hold 6 GB each."""
    folder.mkdir()
    linked, waiting = set[tuple[str, str]](), [("torch", ""), ("torchvision", "")]
    while waiting:
        name, extra = waiting.pop()
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue  # of another system
        if (name, extra) in linked:
            continue
        linked.add((name, extra))
        needs = [Requirement(text) for text in package.requires or ()]
        needs = [need for need in needs if need.marker is None or need.marker.evaluate({"extra": extra})]
        waiting += [(need.name, own) for need in needs for own in ("", *need.extras)]
        for top in tops(package):
            if not (folder / top.name).exists():
                (folder / top.name).symlink_to(top)
    return folder


def tops(package: Distribution) -> set[Path]:
    """Return the files and folders of a package beside others in site-packages."""
    names = {file.parts[0] for file in package.files or () if file.parts[0] not in ("..", "__pycache__")}
    return {Path(str(package.locate_file(name))).resolve() for name in names}


@pytest.mark.wide
@pytest.mark.parametrize("library", SCRIPTS)
def test_a_fresh_environment_gives_the_same_embeddings(tmp_path: Path, library: str) -> None:
    model = small_model("test_vit", {"type": "linear", "size": 16}, 96)
    write_hub_folder(model, tmp_path / "model")
    pixels = noise(model, 5)
    files = [tmp_path / f"{number}.png" for number in range(len(pixels))]
    for file, image in zip(files, pixels, strict=True):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file)
    embeddings = embeddings_of(library, tmp_path / "model", files, tmp_path)
    np.testing.assert_allclose(embeddings, model.embed_pixels(pixels).numpy(), rtol=0, atol=1e-5)


def embeddings_of(library: str, folder: Path, images: list[Path], work: Path) -> np.ndarray:
    """Return the embeddings that a library gives in an environment of its own."""
    place = work / f"env-{library}"
    venv.create(place, with_pip=True)
    python = place / "bin" / "python"
    site = next(place.glob("lib/python*/site-packages"))
    (site / "torch.pth").write_text(f"{shared_torch(work / f'torch-{library}')}\n", encoding="utf-8")
    subprocess.run([python, "-m", "pip", "install", "-q", *PACKAGES[library], "numpy", "pillow"], check=True)
    script, out = work / f"load_with_{library}.py", work / f"{library}.npy"  # its own name would hide the package
    script.write_text(COMMON + SCRIPTS[library], encoding="utf-8")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(work), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    arguments = [folder, json.dumps([str(file) for file in images]), out]
    subprocess.run([python, script, *arguments], check=True, cwd=work, env=environment)
    return np.load(out)


if __name__ == "__main__":  # python tests/exporting/hub/test_environments.py FOLDER IMAGE…: a folder of your own
    import tempfile

    import eml

    own, *names = map(Path, sys.argv[1:])
    with torch.no_grad():
        expected = eml.load(own).embed(names)
    with tempfile.TemporaryDirectory() as temporary:
        for library in SCRIPTS:
            found = embeddings_of(library, own.absolute(), [name.absolute() for name in names], Path(temporary))
            cosine = (found * expected).sum(1)
            print(f"{library}: largest difference {abs(found - expected).max():.1e}, least cosine {cosine.min():.7f}")
