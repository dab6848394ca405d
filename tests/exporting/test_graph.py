import pytest
import torch
from torch import nn

from eml.exporting.graph import InferenceGraph
from eml.models.compression import Compression, CompressionFacts
from eml.models.necks.bnneck import BNNeck
from eml.models.necks.identity import Identity
from eml.models.necks.linear import Linear
from eml.models.necks.mlp import MLP
from eml.models.necks.projection import Projection
from tests.exporting.conftest import tiny_model

PIXELS = torch.randint(0, 256, (5, 3, 12, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("neck", [BNNeck(), Identity(), Linear(size=7), MLP(size=7), Projection(size=7)])
@pytest.mark.parametrize("tta", ["none", "flip", "crops"])
def test_the_graph_embeds_as_the_model(neck: object, tta: str) -> None:
    model = tiny_model(neck, tta=tta)  # type: ignore[arg-type]
    with torch.no_grad():
        embeddings = InferenceGraph(model).eval()(PIXELS.permute(0, 2, 3, 1))
    torch.testing.assert_close(embeddings, model.embed_pixels(PIXELS), atol=1e-6, rtol=0)


def test_no_batch_norm_is_left_in_an_affine_neck() -> None:
    graph = InferenceGraph(tiny_model(BNNeck()))
    assert not [module for module in graph.network.neck.modules() if isinstance(module, nn.BatchNorm1d)]
    sequence = nn.Sequential(nn.Linear(24, 5), nn.BatchNorm1d(5), nn.Dropout())
    model = tiny_model(Identity())
    model.embedder.neck, model.embedder.size = sequence.eval(), 5
    sequence[1].running_mean.uniform_(-1, 1)  # type: ignore[union-attr, operator]
    folded = InferenceGraph(model)
    assert isinstance(folded.network.neck, nn.Linear)
    with torch.no_grad():
        embeddings = folded(PIXELS.permute(0, 2, 3, 1))
    torch.testing.assert_close(embeddings, model.embed_pixels(PIXELS), atol=1e-6, rtol=0)


def test_normalised_images_are_taken_too() -> None:
    model = tiny_model(Identity())
    graph = InferenceGraph(model, "float")
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (model.preprocess.mean, model.preprocess.std))
    with torch.no_grad():
        embeddings = graph((PIXELS / 255 - mean) / std)
    torch.testing.assert_close(embeddings, model.embed_pixels(PIXELS), atol=1e-6, rtol=0)


@pytest.mark.parametrize("storage", ["float16", "int8", "binary"])
def test_a_compression_is_part_of_the_graph(storage: str) -> None:
    model = tiny_model(Identity())
    facts = CompressionFacts(name="x", projection="pca", storage=storage, network_size=24, size=4)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    model.compression = Compression(facts, torch.rand(24, generator=generator), torch.randn(4, 24, generator=generator))
    with torch.no_grad():
        embeddings = InferenceGraph(model)(PIXELS.permute(0, 2, 3, 1))
    torch.testing.assert_close(embeddings, model.embed_pixels(PIXELS), atol=1e-6, rtol=0)


def test_a_contiguous_graph_reads_no_strided_memory_and_leaves_the_model_as_it_is() -> None:
    model = tiny_model(Identity())
    model.embedder.backbone[3].output_size = 1
    model.embedder.to(memory_format=torch.channels_last)
    graph = InferenceGraph(model, contiguous=True)
    weight = model.embedder.backbone[0].weight
    assert not weight.is_contiguous()
    assert graph.network.backbone[0].weight.is_contiguous()
    with torch.no_grad():
        program = torch.export.export(graph, (PIXELS.permute(0, 2, 3, 1).contiguous(),)).run_decompositions()
    operations = [str(node.target) for node in program.graph.nodes]
    assert not [operation for operation in operations if "as_strided" in operation]
