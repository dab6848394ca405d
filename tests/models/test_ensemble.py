"""Networks beside each other give the mean of their cosines; weights have a mean only where they began alike."""

from copy import deepcopy

import pytest
import torch

from eml.errors import ConfigError
from eml.images.preprocess import Preprocess
from eml.models.config import ModelConfig
from eml.models.embedder import Embedder, build_embedder
from eml.models.ensemble import MemberFacts, join_networks, mean_weights, members_of

SIDE = 32


def network(seed: int = 0, *, shaken: int | None = None, **values: object) -> tuple[Embedder, ModelConfig]:
    """Return a network of a seed; shaken: its weights are moved a little, by another seed."""
    config = ModelConfig.model_validate({"backbone": "test_resnet", "weights": "none", "neck": "bnneck"} | values)
    torch.manual_seed(seed)
    made = build_embedder(config, SIDE).eval()
    if shaken is not None:
        torch.manual_seed(shaken)
        with torch.no_grad():
            for weight in made.parameters():
                weight += 0.1 * weight.std(correction=0) * torch.randn_like(weight)
    return made, config


def member(
    name: str, seed: int = 0, preprocess: Preprocess | None = None, **values: object
) -> tuple[Embedder, MemberFacts]:
    made, config = network(seed, **values)
    own = preprocess or Preprocess(size=SIDE)
    return made, MemberFacts(source=name, model=config, preprocess=own, embedding_size=made.size)


def unit(rows: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(rows)


def test_cosines_of_joined_networks_are_the_means_of_theirs_and_each_normalises_for_itself() -> None:
    first, facts = member("a")
    other = Preprocess(size=SIDE, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    second, second_facts = member("b", 1, other, backbone="test_efficientnet", neck={"type": "linear", "size": 6})
    joined = join_networks([first, second], [facts, second_facts]).eval()
    pixels = torch.rand(5, 3, SIDE, SIDE)
    images = [
        (pixels - torch.tensor(own.mean).view(3, 1, 1)) / torch.tensor(own.std).view(3, 1, 1)
        for own in (facts.preprocess, other)
    ]
    with torch.no_grad():
        cosines = [unit(made(image)) for made, image in zip((first, second), images, strict=True)]
        embeddings = joined(images[0])
    expected = sum(rows @ rows.T for rows in cosines) / 2
    torch.testing.assert_close(embeddings @ embeddings.T, expected, rtol=0, atol=1e-5)
    assert joined.size == first.size + 6 == embeddings.shape[1]
    assert [own.source for own in members_of(joined)] == ["a", "b"]
    assert members_of(first) == ()


def test_networks_that_cannot_be_joined_are_refused_with_all_reasons() -> None:
    first, second = member("a"), member("b", preprocess=Preprocess(size=64, fit="crop"))
    with pytest.raises(ConfigError, match="b: takes other pixels than a: size 64, not 32, fit crop, not squash"):
        join_networks([first[0], second[0]], [first[1], second[1]])
    of_an_older_eml = member("c", preprocess=Preprocess(size=SIDE, resize="pillow"))
    join_networks([first[0], of_an_older_eml[0]], [first[1], of_an_older_eml[1]])
    with pytest.raises(ConfigError, match="give two or more"):
        join_networks([first[0]], [first[1]])
    joined = join_networks([first[0], first[0]], [first[1], first[1]])
    with pytest.raises(ConfigError, match="a: is an ensemble already"):
        join_networks([joined, first[0]], [first[1], first[1]])


def test_mean_weights_are_the_means_and_leave_their_networks_as_they_are() -> None:
    networks = {str(seed): network(shaken=seed)[0] for seed in (1, 2, 3)}
    before = deepcopy(networks["1"].state_dict())
    states = [made.state_dict() for made in networks.values()]
    mean = mean_weights(networks).state_dict()
    for key, tensor in mean.items():
        torch.testing.assert_close(tensor.double(), sum(state[key].double() for state in states) / 3)
    assert all(torch.equal(networks["1"].state_dict()[key], tensor) for key, tensor in before.items())


def test_weights_that_began_elsewhere_or_of_another_architecture_have_no_mean() -> None:
    plain = network()[0]
    with pytest.raises(
        ConfigError, match="b: its backbone and that of a did not begin from the same weights"
    ) as caught:
        mean_weights({"a": plain, "b": network(1)[0]})
    assert caught.value.code == "members-do-not-fit"
    with pytest.raises(ConfigError, match="b: is of another architecture than a"):
        mean_weights({"a": plain, "b": network(neck="identity")[0]})
    necks = [network(neck={"type": "linear", "size": 6})[0] for _ in range(2)]
    torch.nn.init.normal_(necks[1].neck[0].weight)  # type: ignore[index, arg-type]
    with pytest.raises(ConfigError, match="b: its neck and that of a did not begin"):
        mean_weights({"a": necks[0], "b": necks[1]})
