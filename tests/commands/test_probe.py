"""`eml probe`: networks on a folder, whose embeddings are computed once."""

import json
from pathlib import Path

import pytest

import eml
from eml.cli.app import main
from eml.errors import ConfigError, DataError, OutputError

RANDOM = "test_vit=none"


def test_networks_are_ranked_and_a_second_probe_embeds_nothing(photos: Path, pipeline: Path) -> None:
    run = pipeline / "run"
    first = eml.probe(photos, backbones=[RANDOM, "test_vit2", str(run)], image_size=32)
    names = [row.candidate.name for row in first.rows]
    assert names[-1] == "test_vit2"  # no hub is reachable here
    assert "not in the cache" in first.rows[-1].problem
    facts = first.to_dict()
    ranked = [
        row["untouched" if facts["folds"] is None else "linear_stage"]["map_at_r"] for row in facts["networks"][:2]
    ]
    assert ranked == sorted(ranked, reverse=True)
    assert facts["pick"]["weights"] == str(run)  # the only one whose weights are not random
    assert first.next_command == f"eml init {photos} --weights {run} --overwrite"
    assert first.rows[names.index(str(run))].measured.trained_on.is_overlap
    assert json.loads((photos / "probe.json").read_text())["pick"] == facts["pick"]
    caches = sorted((photos / ".eml_cache" / "probe").iterdir())
    before = [(path, path.stat().st_mtime_ns) for path in caches]
    made = eml.init(photos, backbone="auto", overwrite=True)
    assert made.values["model"]["weights"] == str(run)
    second = eml.probe(photos, backbones=[RANDOM, str(run)], image_size=32)
    assert second.replaced == (photos / "probe.json",)
    assert [(path, path.stat().st_mtime_ns) for path in caches] == before
    same = ("untouched", "linear_stage", "to_best", "fingerprint")
    for row, again in zip(facts["networks"], second.to_dict()["networks"], strict=False):
        assert [row[key] for key in same] == [again[key] for key in same]


def test_init_takes_what_was_picked_or_says_that_nothing_was(photos: Path) -> None:
    with pytest.raises(DataError, match="eml probe"):
        eml.init(photos, backbone="auto", overwrite=True)
    with pytest.raises(ConfigError, match="`weights`"):
        eml.init(photos, backbone="auto", weights="none", overwrite=True)


def test_random_weights_alone_are_ranked_and_none_is_picked(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["probe", str(photos), "--backbones", "test_vit=none", "--image-size", "32"]) == 0
    shown = capsys.readouterr()
    assert "none to take" in shown.err
    assert "next:" not in shown.err
    assert "only 5 classes judge" in shown.err or "too few classes" in shown.err
    assert json.loads((photos / "probe.json").read_text())["pick"] is None
    with pytest.raises(DataError, match="picked no network"):
        eml.init(photos, backbone="auto", overwrite=True)


def test_a_probe_without_any_network_is_an_error_with_each_reason(photos: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        eml.probe(photos, backbones="test_resnet,test_vit")
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["test_resnet", "test_vit"]
    (photos / "probe.json").write_text("{}")
    with pytest.raises(OutputError, match="not made by eml probe"):
        eml.probe(photos, backbones="test_vit=none")
