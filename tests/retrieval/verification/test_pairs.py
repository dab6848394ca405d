from pathlib import Path

import numpy as np
import pytest
import torch

from eml.errors import DataError
from eml.retrieval.similarity import pair_similarities
from eml.retrieval.verification.pair_rates import shown, verify_listed_pairs
from eml.retrieval.verification.pairs import read_pairs

FILE = "file_name_1,file_name_2,same,fold\na/1.jpg,a/2.jpg,1,3\na/1.jpg,b/1.jpg,0,3\n\nb/1.jpg,a/2.jpg,False,7\n"
NAMES = ["a/1.jpg", "a/2.jpg", "b/1.jpg"]


def test_pairs_of_a_csv(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text(FILE)
    pairs = read_pairs(file, NAMES)
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([0, 0, 2], [1, 2, 1])
    assert pairs.same.tolist() == [True, False, False]
    assert pairs.fold is not None
    assert pairs.fold.tolist() == [0, 0, 1]
    embeddings = torch.tensor([[1.0, 0], [0.6, 0.8], [0, 2]])
    np.testing.assert_allclose(pair_similarities(embeddings, pairs.first, pairs.second, 2), [0.6, 0, 0.8], atol=1e-6)
    values, _ = verify_listed_pairs(embeddings, pairs)
    assert values["auc"] == 0.5
    # fold 7 accepts nothing up to 0.8, which is right for one of fold 3; fold 3 accepts from 0.3, wrong for fold 7
    assert (values["fold_accuracy"], values["fold_accuracy_error"]) == (0.25, 0.25)
    assert [shown(name) for name in values][-2:] == ["accuracy over folds", "standard error of that accuracy"]


def test_a_name_of_two_images_says_nothing(tmp_path: Path) -> None:
    (file := tmp_path / "pairs.csv").write_text(FILE)
    with pytest.raises(DataError, match=rf"1 names belong to several images, first: '{NAMES[0]}'"):
        read_pairs(file, [*NAMES, NAMES[0]])


def test_names_may_be_relative_to_the_folder_of_the_pairs(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    file = tmp_path / "pairs.csv"
    file.write_text("a,b,same\nimages/a/1.jpg,images/a/2.jpg,1\n")
    assert read_pairs(file, NAMES, tmp_path / "images").second.tolist() == [1]
    with pytest.raises(DataError, match=r"pairs\.csv:2: no image 'images/a/1\.jpg'"):
        read_pairs(file, NAMES)


def test_lfws_own_file(tmp_path: Path) -> None:
    file = tmp_path / "pairs.txt"
    file.write_text("2\t1\nAnn_Lee\t1\t2\nAnn_Lee\t1\tBob\t3\nBob\t3\t1\nBob\t1\tAnn_Lee\t2\n")
    names = ["Ann_Lee/Ann_Lee_0001.png", "Ann_Lee/Ann_Lee_0002.png", "Bob/Bob_0001.png", "Bob/Bob_0003.png"]
    pairs = read_pairs(file, names)
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([0, 0, 3, 2], [1, 3, 2, 1])
    assert pairs.same.tolist() == [True, False, True, False]
    assert pairs.fold is not None
    assert pairs.fold.tolist() == [0, 0, 1, 1]
    file.write_text("2\t1\nAnn_Lee\t1\t2\n")
    with pytest.raises(DataError, match=r"1 pairs follow; 2 folds of 1 \+ 1 are 4"):
        read_pairs(file, names)


@pytest.mark.parametrize(
    "text, told",
    [
        ("a/1.jpg,a/2.jpg,1,0", "pairs.csv:1: needs the columns file_name_1, file_name_2, same"),
        (FILE + "a/9.jpg,b/2.jpg,1,3\n", "pairs.csv:6: no image 'a/9.jpg'.*\n.*pairs.csv:6: no image 'b/2.jpg'"),
        (FILE + "a/1.jpg,a/1.jpg,1,3\n", "pairs.csv:6: 'a/1.jpg' is paired with itself"),
        (
            FILE + "a/1.jpg,a/2.jpg,yes,x\na/1.jpg\n",
            "6: same must be 0 or 1, got 'yes'\n.*6: fold .* got 'x'\n.*7: 1 fie",
        ),
        ("file_name_1,file_name_2,same\n", "holds no pairs"),
    ],
)
def test_what_is_wrong_with_a_list_of_pairs_is_told_with_its_lines(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(DataError, match=told) as error:
        read_pairs(tmp_path / "pairs.csv", NAMES)
    assert {problem.parameter for problem in error.value.problems} == {"pairs"}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "name, text",
    [
        ("p.csv", "a,b,same,fold\n1.jpg,2.jpg,1,99999999999999999999\n"),
        ("p.csv", "a,b,same,fold\n1.jpg,2.jpg,1," + "9" * 5000 + "\n"),
        ("p.csv", "a,b,same,fold\n1.jpg,2.jpg,1,²\n"),
        ("p.csv", "a,b,same\n" + "x" * 200_000 + ",2.jpg,1\n"),
        ("p.txt", "9" * 5000 + " 1\n"),
        ("p.txt", "1 1\na 1 " + "9" * 5000 + "\na 1 b 2\n"),
    ],
    ids=range(6),
)
def test_numbers_and_fields_without_end_are_errors_of_their_line(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=rf"{name}:[12]: ") as error:
        read_pairs(tmp_path / name, ["1.jpg", "2.jpg"])
    assert len(str(error.value)) < 1000


def test_a_field_that_does_not_end_is_an_error_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text('a,b,same\n1.jpg,2.jpg,1\n"1.jpg,2.jpg,1\n' + "x" * 2**20)
    with pytest.raises(DataError, match=r"pairs\.csv:3: a field has more than 1,048,576 characters"):
        read_pairs(tmp_path / "pairs.csv", ["1.jpg", "2.jpg"])
