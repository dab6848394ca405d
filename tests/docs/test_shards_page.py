"""The page on shards: the job of Kubernetes is one, and its command is one of eml."""

import re
from pathlib import Path
from typing import Any

import yaml

from eml.commands.embed import EmbedConfig

PAGE = (Path(__file__).parents[2] / "docs" / "shards.md").read_text(encoding="utf-8")


def manifest() -> Any:
    (block,) = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    return yaml.safe_load(block)


def test_the_job_of_kubernetes_is_indexed_and_has_as_many_completions_as_shards() -> None:
    job = manifest()
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    spec = job["spec"]
    assert spec["completionMode"] == "Indexed"
    assert spec["parallelism"] <= spec["completions"]
    pod = spec["template"]["spec"]
    assert pod["restartPolicy"] == "Never"  # which backoffLimitPerIndex needs
    (container,) = pod["containers"]
    words = container["command"]
    assert words[:2] == ["eml", "embed"]
    options = dict(zip(words[4::2], words[5::2], strict=True))
    config = EmbedConfig(checkpoint=words[2], images=words[3], out=options["--out"], shards=options["--shards"])
    assert config.shards == spec["completions"]
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod["volumes"]}
