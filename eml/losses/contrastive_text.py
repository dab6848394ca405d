"""The loss between images and the texts of their classes."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from eml.losses.base import Loss, Terms

if TYPE_CHECKING:
    from torch import Tensor


class ContrastiveText(Loss):
    """½·(image→text) + ½·(text→image), CLIP's loss, to fine-tune as pretrained. Goyal 2023, arXiv:2212.00638 (FLYP).

    Image→text is −ln p of the image's class among the class texts; text→image is −ln p of the image among the images of
    the batch, for the text of its class. With one image per class this is CLIP's loss (Radford 2021, arXiv:2103.00020,
    fig. 3).

    Deviation: the paper draws a text for each image and takes CLIP's loss as it is, so that other images of the same
    class, and their texts, are negatives. Here a class has one text in a step, which stands once among the texts, and
    the text's target is spread evenly over the images of its class (Yang 2022, arXiv:2204.03610, UniCL).

    A network that was pretrained with sigmoids, and so has a logit bias, goes on with them (SigLIP, Zhai 2023,
    arXiv:2303.15343): −ln σ(±(s·c + b)) of each pair of an image and a class text, summed over the texts.
    """

    type: Literal["contrastive_text"] = "contrastive_text"
    compares_texts: ClassVar[bool] = True
    negatives: Literal["batch", "all"] = Field(
        "batch",
        description="the texts that an image is compared with. batch: those of the batch's classes, as in the paper; "
        "all: those of all classes, which are embedded in each step",
    )
    texts: Literal["drawn", "mean"] = Field(
        "drawn",
        description="of a class with several texts (templates). drawn: one in each step, by seed, step and class; "
        "mean: the mean of their embeddings, at the cost of embedding all of them",
    )
    texts_at_once: int = Field(
        256,
        ge=1,
        description="most texts that go through the text tower at once; if a step has more, the activations are "
        "computed again in the backward pass: memory of so many texts, a second forward pass, the same step",
    )

    def per_sample(self, terms: Terms) -> Tensor:
        """Return the (B,) losses in nats. Raises ValueError for a head whose class weights are no texts."""
        if terms.text_to_image is None:
            raise ValueError("loss contrastive_text needs a class head that compares images with texts")
        return (terms.log_sum_exp - terms.target_logit + terms.text_to_image) / 2
