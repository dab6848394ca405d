import torch

from eml.head.class_head import ClassHead
from eml.losses.cross_entropy import CrossEntropy
from eml.margins.softmax import Softmax


def test_equals_torch_cross_entropy_with_and_without_smoothing() -> None:
    torch.manual_seed(0)
    head = ClassHead(Softmax(), 9, 4).double()
    x, labels = torch.randn(5, 4, dtype=torch.float64), torch.tensor([0, 8, 3, 3, 1])
    logits = x @ head.class_weights.T + head.bias
    for smoothing in (0.0, 0.1):
        expected = torch.nn.functional.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)
        torch.testing.assert_close(CrossEntropy(label_smoothing=smoothing).per_sample(head(x, labels)), expected)
