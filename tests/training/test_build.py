"""The parts of a run."""

import pytest
import torch

from eml.dataset.table import Table
from eml.errors import ConfigError
from eml.training.build import build_networks, build_parts
from eml.training.config import RunConfig
from eml.training.data import training_data
from tests.training.runs import changed

pytestmark = pytest.mark.slow


def test_mistakes_in_names_come_with_suggestions(config: RunConfig, table: Table) -> None:
    for values, message in (
        ({"model": {"backbone": "test_resnett", "weights": "none"}}, "did you mean 'test_resnet'"),
        ({"optimizer": {"name": "adamww"}}, "did you mean 'adamw'"),
        ({"validation": {"metric": "recall"}}, "unknown metric 'recall'; known: recall_at_1"),
        ({"device": "cuda:9"}, "not on this machine|counted from 0"),
        (
            {"model": {"backbone": "test_resnet", "weights": "none", "freeze": 99}},
            "must be at most 4, since test_resnet has 5 stages",
        ),
    ):
        with pytest.raises(ConfigError, match=message):
            build_parts(changed(config, **values), table)


def test_weights_follow_from_the_seed_whatever_else_a_run_has(config: RunConfig, table: Table) -> None:
    """Only the seeding has an order: the networks are drawn in one function, the embedder before the class head."""
    data = training_data(table, config.data.fold)
    torch.manual_seed(123)
    alone = build_networks(config, data, torch.device("cpu"))
    torch.rand(7)
    augmented = changed(config, augment={"type": "strong"}, ema={}, batch_size=5, validation={"every": 2})
    for networks in (alone, build_parts(augmented, table).networks):
        expected = build_networks(config, data, torch.device("cpu"))
        for network, module in ((networks.embedder, expected.embedder), (networks.head, expected.head)):
            for key, tensor in module.state_dict().items():
                assert torch.equal(network.state_dict()[key], tensor), key


def test_the_running_mean_is_what_is_evaluated(config: RunConfig, table: Table) -> None:
    parts = build_parts(changed(config, ema={}), table)
    assert parts.networks.ema is not None
    assert parts.networks.evaluated is parts.networks.ema.module is parts.model.embedder
    plain = build_parts(config, table)
    assert plain.networks.evaluated is plain.model.embedder is plain.embedder


def test_validations_embed_in_bfloat16_where_the_training_is(config: RunConfig, table: Table) -> None:
    low = build_parts(changed(config, precision="bfloat16"), table)
    assert low.model.precision == "bfloat16"
    assert low.model.with_network(low.embedder).precision == "bfloat16"
    assert build_parts(config, table).model.precision == "float32"
