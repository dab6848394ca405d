"""No test may reach for a hub; huggingface_hub reads this when it is imported."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"
