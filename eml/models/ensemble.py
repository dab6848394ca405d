"""Several networks as one: their embeddings beside each other, or the mean of their weights."""

from collections.abc import Mapping, Sequence
from copy import deepcopy

import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn.functional import normalize as unit_length

from eml.config import Strict
from eml.errors import ConfigError, Problem
from eml.images.preprocess import Preprocess, differences
from eml.models.config import ModelConfig, StoredModel
from eml.models.definitions import stored_model
from eml.models.embedder import Embedder, without_text
from eml.models.weights_digest import without_names

ALIKE = 0.5
"""Cosine of two networks' weights from which they are taken to have begun from the same ones; else it is about 0."""
OF_PIXELS = ("size", "fit", "interpolation", "background")
"""The keys of a preprocessing that all members share, since they get the same pixels.

`resize` is not one of them: it changes few values, by 1 or 2 of 255. The first member's holds.
"""


class MemberFacts(Strict):
    """One of the `members` in the config.json of an ensemble.

    Attributes:
        source: The model as it was named when the ensemble was made.
        model: What its network is built from.
        preprocess: The preprocessing of its images; members differ in the mean and deviation of channels alone.
        embedding_size: Of its network.
    """

    source: str
    model: StoredModel
    preprocess: Preprocess
    embedding_size: int = Field(ge=1)

    @field_validator("model", mode="before")
    @classmethod
    def _as_stored(cls, model: object) -> object:
        """Take the config of a run, too."""
        if not isinstance(model, ModelConfig) or isinstance(model, StoredModel):
            return model
        return stored_model(model, model.backbone, None)


class Members(nn.Module):
    """Images (B, 3, H, W), normalised as for the first member → (B, ΣD) unit embeddings, each divided by √members.

    So all members weigh the same, and a cosine of the results is the mean of theirs.

    Args:
        networks: The networks.
        facts: What each is.
    """

    def __init__(self, networks: Sequence[Embedder], facts: Sequence[MemberFacts]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)
        self.facts = tuple(facts)

    def forward(self, images: Tensor) -> Tensor:
        """Return the embeddings of all members beside each other."""
        common = self.facts[0].preprocess
        parts = []
        for network, facts in zip(self.networks, self.facts, strict=True):
            own = images if facts.preprocess == common else _normalised_anew(images, common, facts.preprocess)
            parts.append(unit_length(network(own).float()))
        joined: Tensor = torch.cat(parts, 1) / len(parts) ** 0.5
        return joined


def members_of(network: Embedder) -> tuple[MemberFacts, ...]:
    """Return what the members of an ensemble are; nothing for a single network."""
    return network.backbone.facts if isinstance(network.backbone, Members) else ()


def join_networks(networks: Sequence[Embedder], facts: Sequence[MemberFacts]) -> Embedder:
    """Return one network whose embeddings are those of several beside each other.

    Raises:
        ConfigError: There are fewer than two, one is an ensemble itself, or they need different pixels.
    """
    problems = list(_problems(networks, facts))
    if problems:
        raise ConfigError(problems)
    networks = [without_text(network) for network in networks]
    joined = Embedder(Members(networks, facts), nn.Identity(), sum(network.size for network in networks))
    joined.notes = tuple(dict.fromkeys(note for network in networks for note in network.notes))
    joined.architecture = {
        "members": [
            {
                "network": without_names(network.architecture) or repr(network),
                "mean": list(own.preprocess.mean),
                "std": list(own.preprocess.std),
            }
            for network, own in zip(networks, facts, strict=True)
        ]
    }
    return joined


def _problems(networks: Sequence[Embedder], facts: Sequence[MemberFacts]) -> list[Problem]:
    """Return why networks cannot be joined."""
    if len(networks) < 2:
        text = f"several models are joined, and {len(networks)} is given; give two or more"
        return [Problem(text, "too-few-models")]
    first, problems = facts[0], []
    for network, own in zip(networks, facts, strict=True):
        if members_of(network):
            text = f"{own.source}: is an ensemble already; give the models that it was made of"
            problems.append(Problem(text, "conflicting-settings"))
        if words := differences(own.preprocess, first.preprocess, OF_PIXELS):
            text = f"{own.source}: takes other pixels than {first.source}: {', '.join(words)}; all members get "
            problems.append(Problem(text + "the same ones", "members-do-not-fit"))
    return problems


def mean_weights(networks: Mapping[str, Embedder]) -> Embedder:
    """Return a network whose weights are the means of several, in float64. BatchNorm statistics are averaged likewise.

    Izmailov 2018, arXiv:1803.05407; Wortsman 2022, arXiv:2203.05482, for networks fine-tuned from the same weights.

    Args:
        networks: Name → network.

    Raises:
        ConfigError: There is none, they are of different architectures, or did not begin from the same weights.
    """
    if not networks:
        raise ConfigError("no models are given whose weights to average", code="too-few-models")
    first_name, first = next(iter(networks.items()))
    states = {name: network.state_dict() for name, network in networks.items()}
    own = states[first_name]
    problems = []
    for name, network in networks.items():
        if network.architecture != first.architecture or _shapes(states[name]) != _shapes(own):
            text = f"{name}: is of another architecture than {first_name}, so their weights have no mean"
            problems.append(Problem(f"{text}; join their embeddings instead", "members-do-not-fit"))
        elif (part := _unlike_part(states[name], own)) is not None:
            text = f"{name}: its {part} and that of {first_name} did not begin from the same weights, so they have no "
            problems.append(Problem(f"{text}useful mean; join their embeddings instead", "members-do-not-fit"))
    if problems:
        raise ConfigError(problems)
    means = {
        key: torch.stack([state[key].double() for state in states.values()]).mean(0).to(tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for key, tensor in own.items()
    }
    averaged = deepcopy(first)
    averaged.load_state_dict(means)
    return averaged.eval()


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in state.items()}


def _unlike_part(state: Mapping[str, Tensor], other_state: Mapping[str, Tensor]) -> str | None:
    """Return backbone or neck, if the cosine of its weights is below ALIKE; vectors, which begin as ones, are left."""
    for part in ("backbone", "neck"):
        names = [name for name, tensor in state.items() if name.startswith(part + ".") and tensor.ndim > 1]
        if not names:
            continue
        first, second = (
            torch.cat([source[name].double().flatten() for name in names]) for source in (state, other_state)
        )
        lengths = first.norm() * second.norm()
        if lengths > 0 and float(first @ second / lengths) < ALIKE:
            return part
    return None


def _normalised_anew(images: Tensor, common: Preprocess, own: Preprocess) -> Tensor:
    """Return images that were normalised for one preprocessing, as another one normalises them."""
    means, deviations = (
        [torch.tensor(values, device=images.device).view(1, 3, 1, 1) for values in pair]
        for pair in ((common.mean, own.mean), (common.std, own.std))
    )
    return (images * deviations[0] + (means[0] - means[1])) / deviations[1]
