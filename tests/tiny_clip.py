"""A CLIP for tests: a folder of open_clip with a tower of timm, a small text tower and weights from a seed.

Whoever uses it imports open_clip, in seconds, so its tests are of one group: `@pytest.mark.xdist_group("clip")`.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

CLIP: dict[str, Any] = {
    "embed_dim": 24,
    "vision_cfg": {"timm_model_name": "test_vit", "timm_pool": "token", "timm_proj": "linear", "image_size": 160},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
"""A tower of timm and a text tower with open_clip's shipped vocabulary, as an open_clip_config.json has it."""
NATIVE: dict[str, Any] = CLIP | {
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 64, "head_width": 32, "patch_size": 16},
    "quick_gelu": True,
}
"""open_clip's own vision transformer, as OpenAI's weights need it."""
SIGLIP: dict[str, Any] = CLIP | {
    "vision_cfg": {"timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none", "image_size": 160},
    "embed_dim": 64,
    "custom_text": True,
    "init_logit_bias": -10,
    "text_cfg": CLIP["text_cfg"] | {"no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
}
"""Without a projection of images, with one with a bias of texts, for losses of sigmoids."""


def write_tiny_clip(
    folder: Path, seed: int = 0, config: dict[str, Any] = CLIP, preprocess: dict[str, Any] | None = None
) -> Path:
    """Write a folder that `open_clip:local-dir:FOLDER` names, and return it."""
    import open_clip

    kind = open_clip.CustomTextCLIP if config.get("custom_text") else open_clip.CLIP
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = kind(**{key: value for key, value in config.items() if key != "custom_text"})
        with torch.no_grad():
            for tensor in model.parameters():  # zeros as biases and in class tokens would hide what is not loaded
                tensor.add_(0.02 * torch.randn_like(tensor))
    folder.mkdir(parents=True)
    save_file(
        {name: tensor.contiguous() for name, tensor in model.state_dict().items()},
        folder / "open_clip_model.safetensors",
    )
    own = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3], "interpolation": "bilinear", "resize_mode": "squash"}
    text = json.dumps({"model_cfg": config, "preprocess_cfg": own | (preprocess or {})})
    (folder / "open_clip_config.json").write_text(text, encoding="utf-8")
    return folder
