"""A real server under good, broken, huge, slow and hostile requests of 16 clients at once."""

import random
import tarfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import eml
from eml.indexing.index import Index
from eml.serving.keys import add_key
from tests.serving.load import hostile
from tests.serving.load.cases import Case, GoodCases, bad_images, problem_of
from tests.serving.load.driving import drive
from tests.serving.load.server import Server, memory_watch
from tests.serving.load.shop import Shop, calibration, data_folder, make_shop
from tests.serving.load.truths import Truth, numbers, truths_of
from tests.serving.load.wire import data_uri, json_request, request, send

pytestmark = [pytest.mark.wide, pytest.mark.slow, pytest.mark.xdist_group("serving")]

REQUESTS, WARM_UP = 2_000, 1_000
BROKEN_CHUNKS = "LocalProtocolError: can't handle event type Response when role=SERVER and state=MUST_CLOSE"
"""The line that uvicorn leaves in the log of a body whose chunks are none: it has answered 400 itself by then."""
GROWTH = 50.0
"""MiB, between two moments without requests."""
IN_FLIGHT = 512.0
"""MiB: 16 clients send bodies of up to 16 MiB, which are held and decoded."""


@pytest.fixture(scope="module", params=["torch", "onnx"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator["Served"]:
    """A server with an index, by the network in torch and by its exported file; and the truth of both."""
    folder = tmp_path_factory.mktemp(request.param)
    shop = make_shop(folder)
    model = shop.model
    if request.param == "onnx":
        pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
        pytest.importorskip("onnxscript", reason="onnxscript is not installed")
        path = folder / "model.onnx"
        eml.export(shop.source, path, weights=shop.weights, image_size=shop.side, prove_images=0)
        model = eml.load(path)
    with Index.build(folder / "shop.index", model, shop.images, with_model=True) as index:
        index.store.calibration = calibration()
    keys = folder / "keys.json"
    headers = {"Authorization": f"Bearer {add_key(keys, 'reader', ['read'])}"}
    options = ["--keys", str(keys)]
    with (
        Index.open(folder / "shop.index") as index,
        Server(folder / "shop.index", folder / "server.log", options) as server,
    ):
        yield Served(server, shop, index, truths_of(index, shop.queries), headers, folder)


class Served:
    """A server, what it serves, what it should answer, and the key that may ask it."""

    def __init__(
        self,
        server: Server,
        shop: Shop,
        index: Index,
        truths: dict[str, Truth],
        headers: dict[str, str],
        folder: Path,
    ) -> None:
        self.server, self.shop, self.index, self.truths, self.folder = server, shop, index, truths, folder
        self.headers = headers
        self.image = shop.queries[min(shop.queries)]
        self.secrets = [str(folder), str(Path(eml.__file__).parent), "root:x:0", headers["Authorization"].split()[1]]

    def good(self, seed: int) -> GoodCases:
        return GoodCases(self.truths, self.shop.queries, self.index.labels, self.headers, seed)

    def bad(self) -> list[Case]:
        """Return every bad request."""
        image, headers, dirty = self.image, self.headers, unpacked_dirty(self.folder)
        named = self.truths[min(self.shop.queries)]

        def check(reply: object) -> str:
            (item,) = reply.json["data"]  # type: ignore[attr-defined]
            return named.embedding_problem(item["embedding"])

        return [
            *hostile.bad_image_cases(image, headers, dirty),
            *hostile.json_cases(image, headers),
            *hostile.condition_cases(image, headers),
            *hostile.path_cases(headers),
            *hostile.address_cases(headers),
            *hostile.file_name_cases(image, headers, check),
            *hostile.http_cases(image, headers),
            *hostile.key_cases(image),
            *hostile.read_key_cases(image, headers),
        ]


def unpacked_dirty(folder: Path) -> Path | None:
    """Return the folder of the awkward files; None where their archive is not there."""
    if not (data_folder() / "dirty.tar").is_file():
        return None
    with tarfile.open(data_folder() / "dirty.tar") as tar:
        tar.extractall(folder, filter="data")
    return folder / "dirty"


def mixed(served: Served, count: int, seed: int) -> list[Case]:
    """Return so many requests in a drawn order: six of ten good, the others of every bad kind."""
    draws, good = random.Random(seed), served.good(seed)
    bad = served.bad()
    images = [data for _, data in bad_images(served.image)]
    huge = list(hostile.huge_cases(served.image, served.headers, 16 * 2**20, 32 * 2**20, 64))
    cases = [*bad, *huge]
    cases += [good.beside(draws.choice(images)) for _ in range(count // 20)]
    cases += [good.slow() for _ in range(count // 20)]
    cases += [good.left() for _ in range(count // 40)]
    cases += [good.long() for _ in range(count // 40)]
    draws.shuffle(cases)
    cases = cases[: 4 * count // 10]
    cases += [good.draw() for _ in range(count - len(cases))]
    draws.shuffle(cases)
    return cases


def test_two_thousand_mixed_requests_are_answered_right_in_flat_memory(served: Served) -> None:
    drive(served.server, mixed(served, WARM_UP, seed=1)).assert_right()
    begin = served.server.memory()
    with memory_watch(served.server) as samples:
        outcome = drive(served.server, mixed(served, REQUESTS, seed=2), served.secrets)
    print("slowest:", sorted(outcome.seconds)[-12:])
    outcome.assert_right()
    assert sum(outcome.statuses.values()) == REQUESTS
    assert outcome.statuses[200] >= 0.6 * REQUESTS
    end, most = served.server.memory(), max(mebibytes for _, mebibytes in samples)  # without requests, and with 16
    print(f"{outcome.statuses}, shed {outcome.shed}, memory {begin:.0f} → {end:.0f} MiB, at most {most:.0f} MiB")
    assert abs(end - begin) < GROWTH, f"{begin:.0f} MiB became {end:.0f} MiB"
    assert most - begin < IN_FLIGHT, f"{begin:.0f} MiB became {most:.0f} MiB while requests were answered"
    log = served.server.text()
    assert log.count("Traceback") == log.count(BROKEN_CHUNKS), log[-3000:]


def test_every_bad_request_is_refused_and_the_next_good_one_is_answered(served: Served) -> None:
    good = served.good(seed=3)
    problems = []
    for case in served.bad():
        problems.append(problem_of(case, send(served.server.port, case.wire), served.secrets))
        after = good.draw()
        problems.append(problem_of(after, send(served.server.port, after.wire), served.secrets))
    assert not (told := [problem for problem in problems if problem]), "\n".join(told)


def test_one_image_at_a_time_gives_the_bits_of_the_network_here(served: Served) -> None:
    """The server is idle, so that each image is a batch of its own."""
    for name, data in list(served.shop.queries.items())[:20]:
        for encoding in ("float", "base64"):
            content = {"input": data_uri(data), "encoding_format": encoding}
            reply = send(served.server.port, json_request("/v1/embeddings", content, served.headers))
            (item,) = reply.json["data"]
            assert np.array_equal(numbers(item["embedding"]), served.truths[name].embedding), name


def test_the_figures_tell_what_was_done(served: Served) -> None:
    text = send(served.server.port, request("/metrics", method="GET", headers=served.headers)).body.decode()
    values = {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in text.splitlines() if line[0] != "#"}
    assert values["eml_serve_queue_items"] == 0
    assert values["eml_serve_index_images"] == len(served.index)
    assert values["eml_serve_batch_items_count"] > 0
    assert values["eml_serve_classified_images_total"] > values["eml_serve_unknown_images_total"]
    assert not [name for name in values if 'status="50' in name and "505" not in name]
