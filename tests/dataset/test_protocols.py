"""Each official protocol reads a miniature copy of its layout: split, queries, boxes, cameras, pairs, errors."""

import os
import pickle
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eml.dataset.protocols import Protocol, ProtocolTables, Work
from eml.dataset.protocols._boxes import corner_box, inclusive_box
from eml.dataset.protocols._ijb import POINTS, similarity_to_points
from eml.errors import DataError, OutputError
from tests.dataset import protocol_layouts
from tests.dataset.protocol_layouts import LAYOUTS

MEMBERS = sorted(Protocol.members())


def read(name: str, folder: Path, **work: Any) -> ProtocolTables:
    member = Protocol.members()[name].model_validate({})
    return member.tables(member.find_root(folder), Work(**{"images": folder / "images"} | work))


def test_every_protocol_has_a_miniature_copy() -> None:
    assert sorted(LAYOUTS) == MEMBERS


@pytest.mark.parametrize("name", MEMBERS)
def test_a_protocol_says_where_its_facts_are_from(name: str) -> None:
    member = Protocol.members()[name]
    text = f"{member.__doc__} {member.paper}"
    assert "layout" in text
    assert any(f"{year}, " in text or f"{year} " in text for year in range(2005, 2025)), "no paper with its year"
    assert member.licence
    assert member.official
    assert bool(member.preset) == bool(member.preset_lines)
    for alternatives in member.layout:
        assert alternatives


def test_persons_are_trained_on_at_their_papers_shape_and_vehicles_as_squares() -> None:
    sizes = {name: Protocol.members()[name].preset["image"]["size"] for name in ("market1501", "veri776")}
    assert sizes == {"market1501": (256, 128), "veri776": 256}


@pytest.mark.parametrize("name", MEMBERS)
def test_the_tables_name_images_that_are_there_and_no_class_is_on_both_sides(name: str, tmp_path: Path) -> None:
    tables = read(name, LAYOUTS[name](tmp_path))
    frames = [frame for frame in (tables.train, *(test.frame for test in tables.tests)) if frame is not None]
    for frame in frames:
        assert not frame["file_name"].duplicated().any()
        assert all((tables.root / file).is_file() for file in frame["file_name"])
    if tables.train is not None:
        assert tables.train["label"].nunique() >= 1
    for test in tables.tests:
        trained = set() if tables.train is None else set(tables.train["label"])
        assert not trained & set(test.frame["label"])
        if test.pairs is not None and "template_1" in test.pairs:
            named = {*test.pairs["template_1"].astype(str), *test.pairs["template_2"].astype(str)}
            assert named <= set(test.frame["template"])
        elif test.pairs is not None:
            assert {*test.pairs["file_name_1"], *test.pairs["file_name_2"]} <= set(test.frame["file_name"])


@pytest.mark.parametrize("name", MEMBERS)
def test_another_folder_is_told_what_was_looked_for_and_found(name: str, tmp_path: Path) -> None:
    (tmp_path / "holiday.txt").write_text("")
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataError) as caught:
        read(name, tmp_path)
    (problem,) = caught.value.problems
    assert (caught.value.code, caught.value.parameter) == ("not-this-layout", "dataset")
    assert f"is not the layout of {name}" in problem
    assert "Found in it: holiday.txt, photos/." in problem
    for alternatives in Protocol.members()[name].layout:
        assert " or ".join(alternatives) in problem


def test_the_layout_of_another_protocol_is_recognised(tmp_path: Path) -> None:
    LAYOUTS["sop"](tmp_path)
    with pytest.raises(DataError, match=r"is not the layout of cub200 .* It has the layout of sop$"):
        read("cub200", tmp_path)


def test_several_folders_with_the_layout_are_not_chosen_among(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        LAYOUTS["sop"](tmp_path / name)
    with pytest.raises(DataError, match=r"2 folders in it have the layout of sop: a, b\. Give one of them"):
        read("sop", tmp_path)


def test_cub_splits_by_class_100_and_not_by_its_own_split_of_images(tmp_path: Path) -> None:
    tables = read("cub200", LAYOUTS["cub200"](tmp_path))
    assert tables.root == tmp_path / "CUB_200_2011"
    assert tables.train is not None
    assert sorted(set(tables.train["label"])) == ["099.Bird_99", "100.Bird_100"]
    assert sorted(set(tables.tests[0].frame["label"])) == ["101.Bird_101", "102.Bird_102"]
    assert tables.counts() == {"train classes": 2, "train images": 4, "test classes": 2, "test images": 4}
    assert "x_1" not in tables.train


def test_cub_boxes_hold_every_pixel_that_they_touch(tmp_path: Path) -> None:
    tables = read("cub200", LAYOUTS["cub200"](tmp_path), boxes=True)
    assert tables.train is not None
    assert tables.train[["x_1", "y_1", "x_2", "y_2"]].to_numpy().tolist()[1] == [4, 2, 25, 13]
    assert corner_box(Path(), ("0.0", "0.0", "3.0", "2.0")) == {"x_1": 0, "y_1": 0, "x_2": 3, "y_2": 2}
    assert inclusive_box(1, 1, 3, 2) == {"x_1": 0, "y_1": 0, "x_2": 3, "y_2": 2}


def test_cub_without_a_class_for_an_image_is_told_with_the_list(tmp_path: Path) -> None:
    LAYOUTS["cub200"](tmp_path)
    labels = tmp_path / "CUB_200_2011" / "image_class_labels.txt"
    labels.write_text("\n".join(labels.read_text().splitlines()[:-1]))
    with pytest.raises(DataError, match=r"image_class_labels\.txt: says nothing of image 8$"):
        read("cub200", tmp_path)


@pytest.mark.parametrize("layout", [LAYOUTS["cars196"], protocol_layouts.cars196_devkit], ids=["car_ims", "devkit"])
def test_cars_have_the_same_split_in_both_layouts(layout: Any, tmp_path: Path) -> None:
    tables = read("cars196", layout(tmp_path), boxes=True)
    assert tables.train is not None
    assert set(tables.train["label"]) == {"Make Model 98 2012"}
    assert set(tables.tests[0].frame["label"]) == {"Make Model 99 2012"}
    assert tables.train[["x_1", "y_1", "x_2", "y_2"]].to_numpy().tolist() == [[0, 0, 30, 20]] * 2


def test_a_devkit_without_the_labels_of_the_test_is_not_half_read(tmp_path: Path) -> None:
    protocol_layouts.cars196_devkit(tmp_path)
    (tmp_path / "cars_test_annos_withlabels.mat").unlink()
    with pytest.raises(DataError, match=r"cars_test_annos_withlabels\.mat or .* is not there; the protocol needs"):
        read("cars196", tmp_path)


def test_a_broken_matlab_file_is_no_traceback(tmp_path: Path) -> None:
    LAYOUTS["cars196"](tmp_path)
    data = (tmp_path / "cars_annos.mat").read_bytes()
    for broken in (b"", b"MATLAB 5.0", data[: len(data) // 2]):
        (tmp_path / "cars_annos.mat").write_bytes(broken)
        with pytest.raises(DataError) as caught:
            read("cars196", tmp_path)
        assert caught.value.code in ("damaged-file", "not-a-table")


def test_sop_keeps_the_kind_of_product(tmp_path: Path) -> None:
    tables = read("sop", LAYOUTS["sop"](tmp_path))
    assert tables.train is not None
    assert tables.train.to_dict("records")[0] == {
        "label": "1",
        "file_name": "chair_final/1_0.JPG",
        "category": "chair",
    }
    (tmp_path / "Ebay_test.txt").write_text("image_id class_id super_class_id path\n1 3 a.jpg\n")
    with pytest.raises(DataError, match=r"Ebay_test\.txt:2: must be image_id class_id super_class_id path, got '1 3 a"):
        read("sop", tmp_path)


def test_in_shop_has_queries_and_a_gallery(tmp_path: Path) -> None:
    tables = read("in_shop", LAYOUTS["in_shop"](tmp_path))
    frame = tables.tests[0].frame
    assert frame["file_name"][0] == "Img/img/WOMEN/Dresses/id_00000003/00_1_front.jpg"
    assert set(frame["category"]) == {"WOMEN/Dresses"}
    assert (frame["is_query"] ^ frame["is_gallery"]).all()
    assert (tables.counts()["queries"], tables.counts()["gallery"]) == (2, 4)
    (tmp_path / "Img" / "img").rename(tmp_path / "img_highres")
    frame = read("in_shop", tmp_path).tests[0].frame
    assert frame["file_name"][0] == "img_highres/WOMEN/Dresses/id_00000003/00_1_front.jpg"


def test_inaturalist_lists_may_begin_with_another_folder(tmp_path: Path) -> None:
    LAYOUTS["inaturalist2018"](tmp_path)
    source = tmp_path / "Inat_dataset_splits" / "Inaturalist_test_set1.txt"
    names = source.read_text().split()
    source.write_text("\n".join(f"/data/inat/{name}" for name in names))
    frame = read("inaturalist2018", tmp_path).tests[0].frame
    assert list(frame["file_name"]) == names
    assert set(frame["label"]) == {"Aves/9", "Aves/10"}


def test_cameras_come_from_the_names(tmp_path: Path) -> None:
    frame = read("veri776", LAYOUTS["veri776"](tmp_path)).tests[0].frame
    assert set(frame["camera"]) == {"c001", "c002"}
    assert Protocol.members()["veri776"].leave_out_same == "camera"
    draw = tmp_path / "image_train" / "holiday.jpg"
    draw.write_bytes(b"")
    with pytest.raises(DataError, match=r"holiday\.jpg: its name says no identity and camera, as in 0001_c001_"):
        read("veri776", tmp_path)


def test_market_leaves_out_junk_and_keeps_distractors_as_nobodys_positives(tmp_path: Path) -> None:
    tables = read("market1501", LAYOUTS["market1501"](tmp_path))
    test = tables.tests[0]
    assert test.unknown_label == "0000"
    assert "-1" not in set(test.frame["label"])
    assert tables.notes == ("2 images of identity -1 are left out, as the protocol says",)
    counts = tables.counts()
    assert (counts["test classes"], counts["queries"], counts["gallery"]) == (2, 2, 5)


def test_lfw_pairs_have_folds_and_only_their_images_are_embedded(tmp_path: Path) -> None:
    test = read("lfw", LAYOUTS["lfw"](tmp_path)).tests[0]
    assert test.pairs is not None
    assert test.pairs["same"].tolist() == [1, 0, 1, 0]
    assert test.pairs["fold"].tolist() == [0, 0, 1, 1]
    assert test.pairs["file_name_2"][1] == "lfw/Cher/Cher_0001.jpg"
    assert set(test.frame["label"]) == {"Aaron_Eckhart", "Bob_Hope", "Cher"}
    (tmp_path / "pairs.txt").write_text("10\t300\nCher\t1\t2\n")
    with pytest.raises(DataError, match="begins with FOLDS PAIRS, such as 10 300, and has twice as many lines"):
        read("lfw", tmp_path)


def test_ms1m_images_are_written_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "faces_emore").mkdir()
    LAYOUTS["ms1m"](tmp_path / "faces_emore")
    tables = read("ms1m", tmp_path)
    assert tables.root == tmp_path / "images"
    assert tables.train is not None
    assert tables.train.to_dict("records")[2:] == [
        {"label": "0000001", "file_name": "train/0000001/00000003.png"},
        {"label": "0000001", "file_name": "train/0000001/00000004.png"},
    ]
    for number, file in enumerate(tables.train["file_name"]):
        data = (tables.root / file).read_bytes()
        assert data.startswith(protocol_layouts.face(number))
    assert (
        (tables.root / tables.train["file_name"][1]).read_bytes().endswith(struct.pack("<II", 0xCED7230A, 7) + b"end")
    )


def test_ms1m_goes_on_where_it_was_stopped_and_keeps_a_users_files(tmp_path: Path) -> None:
    tables = read("ms1m", LAYOUTS["ms1m"](tmp_path))
    assert tables.train is not None
    first, second = (tables.root / name for name in tables.train["file_name"][:2])
    first.write_bytes(b"cut off")
    before = second.stat().st_mtime_ns
    read("ms1m", tmp_path)
    assert first.read_bytes() == protocol_layouts.face(0)
    assert second.stat().st_mtime_ns == before
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "holiday.jpg").write_bytes(b"")
    with pytest.raises(OutputError, match="holds files that eml did not write"):
        read("ms1m", tmp_path, images=tmp_path / "mine")


def test_a_verification_set_has_its_pairs_in_ten_folds(tmp_path: Path) -> None:
    LAYOUTS["ms1m"](tmp_path)
    faces = [protocol_layouts.face(number) for number in range(40)]
    (tmp_path / "agedb_30.bin").write_bytes(pickle.dumps((faces, [True, False] * 10)))
    lfw, aged = read("ms1m", tmp_path).tests
    assert (lfw.name, aged.name) == ("lfw", "agedb_30")
    assert lfw.pairs is not None
    assert aged.pairs is not None
    assert "fold" not in lfw.pairs
    assert lfw.pairs["same"].tolist() == [1, 0]
    assert lfw.frame["label"].nunique() == 2  # 0 and 1 by the pair, 2 by the same file as 0
    assert aged.pairs["fold"].tolist() == [pair // 2 for pair in range(20)]


@pytest.mark.parametrize("length", [0, 7, 30, 60])
def test_a_record_file_that_is_cut_off_is_told(length: int, tmp_path: Path) -> None:
    LAYOUTS["ms1m"](tmp_path)
    (tmp_path / "train.rec").write_bytes((tmp_path / "train.rec").read_bytes()[:length])
    with pytest.raises(DataError, match=r"train\.rec: the record at byte \d+ cannot be read: the file ends after"):
        read("ms1m", tmp_path)


def test_an_index_of_another_file_is_told(tmp_path: Path) -> None:
    LAYOUTS["ms1m"](tmp_path)
    index = (tmp_path / "train.idx").read_text()
    for wrong, message in (
        (index.replace("1\t", "1\t4", 1), "no record begins there|the file ends after"),
        ("0 0\n", "record 0 counts 4 images, and the index lacks 4 of them"),
        ("a b\n", r"train\.idx:1: must be KEY OFFSET, got 'a b'"),
        ("", "names no record"),
    ):
        (tmp_path / "train.idx").write_text(wrong)
        with pytest.raises(DataError, match=message):
            read("ms1m", tmp_path)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_verification_set_that_would_run_code_is_refused_before_it_does(protocol: int, tmp_path: Path) -> None:
    LAYOUTS["ms1m"](tmp_path)
    target = tmp_path / "here"
    for thing in (_touching(target), np.zeros(3), {"a": Path}):
        (tmp_path / "lfw.bin").write_bytes(pickle.dumps(([b"a", b"b"], [True], thing), protocol))
        with pytest.raises(DataError, match=r"is not a pickle of image files and flags alone .*it names"):
            read("ms1m", tmp_path)
    assert not target.exists()


def _touching(target: Path) -> object:
    class Touching:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.system, (f"touch {target}",))

    return Touching()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([b"a"], "must hold a list of images and a list of flags"),
        (([b"a", 3], [True]), "has images that are no bytes"),
        (([b"a", b"b"], [2]), "has flags that are not True or False"),
        (([b"a", b"b"], [True, True]), "has 2 images and 2 flags; it needs two images for each"),
    ],
)
def test_a_verification_set_of_another_form_is_told(content: Any, message: str, tmp_path: Path) -> None:
    LAYOUTS["ms1m"](tmp_path)
    for protocol in (2, 4):
        (tmp_path / "lfw.bin").write_bytes(pickle.dumps(content, protocol))
        with pytest.raises(DataError, match=rf"lfw\.bin: {message}"):
            read("ms1m", tmp_path)
    (tmp_path / "lfw.bin").write_bytes(b"\x80\x02broken")
    with pytest.raises(DataError, match="is not a pickle"):
        read("ms1m", tmp_path)


def test_ijb_has_templates_of_media_and_pairs_of_templates(tmp_path: Path) -> None:
    tables = read("ijbc", LAYOUTS["ijbc"](tmp_path))
    assert tables.train is None
    (test,) = tables.tests
    assert test.frame["template"].tolist() == ["1", "1", "1", "2", "3"]
    assert test.frame["media"].tolist() == ["10", "11", "11", "12", "13"]
    assert test.frame["weight"].tolist() == ["0.1", "0.2", "0.3", "0.4", "0.5"]
    assert test.frame["label"].nunique() == 2
    assert test.pairs is not None
    assert test.pairs.to_numpy().tolist() == [[1, 3, 1], [1, 2, 0], [2, 3, 0]]
    counts = {"test images": 5, "test templates": 3, "test same pairs": 1, "test different pairs": 2}
    assert counts.items() <= tables.counts().items()
    for name in test.frame["file_name"]:
        with Image.open(tables.root / name) as face:
            assert face.size == (112, 112)


def test_faces_are_turned_scaled_and_shifted_onto_the_points() -> None:
    angle = 0.4
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    face = 1.7 * POINTS @ turn.T + [30, -12]
    matrix = similarity_to_points(face)
    np.testing.assert_allclose(POINTS @ matrix[:, :2].T + matrix[:, 2], face, atol=1e-9)
    mirrored = face * [-1, 1]  # a face is never mirrored
    assert np.linalg.det(similarity_to_points(mirrored)[:, :2]) > 0


def test_an_aligned_face_has_its_pixels_at_the_points(tmp_path: Path) -> None:
    pixels = np.zeros((112, 112), np.uint8)
    for x, y in POINTS.round().astype(int):
        pixels[y - 2 : y + 3, x - 2 : x + 3] = 255
    turned = Image.fromarray(pixels).resize((224, 224), Image.Resampling.BICUBIC)
    LAYOUTS["ijbb"](tmp_path)
    turned.save(tmp_path / "loose_crop" / "1.jpg", quality=100)
    words = " ".join(f"{2 * value + 0.5:.3f}" for value in POINTS.round().ravel())  # the same places, twice as large
    source = tmp_path / "meta" / "ijbb_name_5pts_score.txt"
    source.write_text(f"1.jpg {words} 0.9\n" + "".join(source.read_text().splitlines(keepends=True)[1:]))
    tables = read("ijbb", tmp_path)
    with Image.open(tables.root / "1.jpg") as image:
        face = np.asarray(image.convert("L")).astype(int)
    assert np.abs(face - pixels).mean() < 4
    assert np.abs(np.roll(face, 1, 1) - pixels).mean() > 1.2 * np.abs(face - pixels).mean()


def test_broken_lists_of_ijb_are_told(tmp_path: Path) -> None:
    LAYOUTS["ijbb"](tmp_path)
    pairs = tmp_path / "meta" / "ijbb_template_pair_label.txt"
    for wrong in ("1 3 7\n", "1 three 1\n", ""):
        pairs.write_text(wrong)
        with pytest.raises(
            DataError, match=r"ijbb_template_pair_label\.txt: must have lines of TEMPLATE TEMPLATE 0 or 1"
        ):
            read("ijbb", tmp_path)
    source = tmp_path / "meta" / "ijbb_name_5pts_score.txt"
    source.write_text(source.read_text().replace("10.0", "nan", 1))
    with pytest.raises(DataError, match=r"1\.jpg must have five points and a score, got 'nan"):
        read("ijbb", tmp_path)
