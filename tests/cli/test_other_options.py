import pytest

from eml.cli.other_options import give_others

KNOWN = {"--set": True, "-s": True, "--resume": False, "--out": True, "--overwrite": False}


@pytest.mark.parametrize(
    "words, result",
    [
        ("c.yaml --epochs 3", "c.yaml --set epochs=3"),
        ("--epochs 3 c.yaml", "--set epochs=3 c.yaml"),
        ("--optimizer.lr.neck=1e-3 c.yaml --resume", "--set optimizer.lr.neck=1e-3 c.yaml --resume"),
        ("--batch-size 8 --seed -1", "--set batch_size=8 --set seed=-1"),
        ("--set epochs=3 -s seed=1 --out x.png", "--set epochs=3 -s seed=1 --out x.png"),
        ("--out --resume", "--out --resume"),
        ("--output x --out=y", "--set output=x --out=y"),
        ("--resum c.yaml", "--resum c.yaml"),
        ("--overwrit", "--overwrit"),
        ("c.yaml --epochs", "c.yaml --epochs"),
        ("c.yaml --epochs --resume", "c.yaml --epochs --resume"),
        ("-x 3", "-x 3"),
        ("-- --epochs 3", "-- --epochs 3"),
    ],
)
def test_any_other_option_with_a_value_becomes_a_key_of_the_config(words: str, result: str) -> None:
    assert give_others(words.split(), KNOWN, "--set") == result.split()
