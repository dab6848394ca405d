import torch

from eml.losses.cross_entropy import CrossEntropy
from eml.losses.focal import Focal
from eml.margins.cosface import CosFace
from tests.head.heads import batch_of_four, head_of_four


def test_focal_loss_weighs_by_the_missing_probability() -> None:
    terms = head_of_four(CosFace())(*batch_of_four())
    p = (terms.target_logit - terms.log_sum_exp).exp()
    torch.testing.assert_close(Focal(gamma=2)(terms), (1 - p) ** 2 * -p.log())
    torch.testing.assert_close(Focal(gamma=0)(terms), CrossEntropy()(terms))
