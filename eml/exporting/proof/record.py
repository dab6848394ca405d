"""The record of a proof, as it is kept in proof.json, in the exported file itself and on its page."""

from typing import Any

from pydantic import Field

from eml.config import Strict
from eml.inference.exported.facts import ProofSummary
from eml.inference.exported.text_facts import TextProof

FORMAT = 1
LEAST_COSINE = 0.9999
MOST_LOSS = 0.01
TOP = 10


class ProofLimits(Strict):
    """The limits that an exported model has to keep to.

    Attributes:
        least_cosine: The lowest cosine between an image's embeddings by both models; None: the retrieval decides.
        most_loss: MAP@R that may be lost. In float32 it bounds what was measured, in fewer bits the lower end of the
            paired interval.
    """

    least_cosine: float | None = Field(LEAST_COSINE, gt=0, le=1)
    most_loss: float = Field(MOST_LOSS, ge=0, le=1)

    @classmethod
    def of(cls, precision: str, *, least_cosine: float | None = None, most_loss: float | None = None) -> "ProofLimits":
        """Return the limits for a precision; None stands for the usual value."""
        usual = LEAST_COSINE if precision == "float32" else None
        return cls(
            least_cosine=usual if least_cosine is None else least_cosine,
            most_loss=MOST_LOSS if most_loss is None else most_loss,
        )


class ProvedMetric(Strict):
    """A retrieval metric of both models over the same queries.

    Attributes:
        reference: Of the checkpoint.
        exported: Of the exported model.
        low: Lower end of the 95 % interval of exported − reference, over classes; None: no query changed, or it cannot
            be computed.
        high: Upper end.
        alike: Whether no query changed.
        chance: Of a gallery in random order.
    """

    reference: float
    exported: float
    low: float | None
    high: float | None
    alike: bool
    chance: float

    @property
    def difference(self) -> float:
        """The difference exported − reference."""
        return self.exported - self.reference


class ProvedBatch(Strict):
    """A batch of another size: its images must get the embeddings that they get among other images.

    Attributes:
        images: The batch size.
        least_cosine: Between the embeddings of this batch and those of the main run; None: it cannot be run.
        largest_difference: Length of the largest difference of unit embeddings.
        error: Why it cannot be run.
    """

    images: int
    least_cosine: float | None = None
    largest_difference: float | None = None
    error: str = ""


class ProvedSpeed(Strict):
    """Milliseconds per image on one thread of a CPU, the median of runs that alternate between both models.

    Attributes:
        batch: Images that are computed at once.
        reference: Of the checkpoint in torch.
        exported: Of the exported model.
        rounds: Runs of each.
    """

    batch: int
    reference: float
    exported: float
    rounds: int


class Proof(Strict):
    """The comparison of an exported model with its checkpoint on real images.

    Attributes:
        passed: Whether there are no problems.
        problems: Why it failed, a sentence each.
        cautions: What the proof cannot show, a sentence each.
        precision: Of the exported model.
        images: How many were compared.
        classes: How many classes they are of, each with at least two of them.
        chosen_from: Where they come from.
        table: The name of the table that they are of; None: it is in no file.
        table_digest: Its digest.
        graph: The digest of the graph that was proved; empty: it has none.
        least_cosine: The least over all images; None, as all that follows, where the model gave no embeddings that can
            be compared.
        mean_cosine: The mean over all images.
        largest_difference: Length of the largest difference of an image's two embeddings, both of unit length.
        most_difference: The most that rounding explains, which a float32 export may differ by.
        rounding: The reference's own difference between batches of other sizes.
        typical_distance: The median distance of two different images by the reference.
        shortest: The least length of an exported embedding.
        longest: The greatest.
        top_10_agreement: Mean share of an image's 10 nearest that are the same with both models.
        recall_at_1: R@1 of both, each image a query to all others.
        map_at_r: MAP@R of both.
        batches: The embeddings in batches of other sizes.
        tinted_cosine: The least cosine on tinted images, where all images are grey; None where they are not.
        from_files: The least cosine of some images that both models read from their files; None: not tried.
        texts: The comparison of the text tower beside the file; None: it has none.
        speed: Milliseconds per image of both, side by side.
        machine: Where it was measured.
        versions: Of the packages that take part.
    """

    format: int = FORMAT
    eml_version: str
    created: str
    passed: bool
    problems: list[str]
    cautions: list[str]
    precision: str
    limits: ProofLimits
    images: int
    classes: int
    chosen_from: str
    table: str | None
    table_digest: str | None
    graph: str = ""
    least_cosine: float | None = None
    mean_cosine: float | None = None
    largest_difference: float | None = None
    most_difference: float | None = None
    rounding: float | None = None
    typical_distance: float | None = None
    shortest: float | None = None
    longest: float | None = None
    top_10_agreement: float | None = None
    recall_at_1: ProvedMetric | None = None
    map_at_r: ProvedMetric | None = None
    batches: list[ProvedBatch] = Field(default_factory=list)
    tinted_cosine: float | None = None
    from_files: float | None = None
    texts: TextProof | None = None
    speed: list[ProvedSpeed] = Field(default_factory=list)
    machine: str
    versions: dict[str, str]

    def __repr__(self) -> str:
        verdict = "passed" if self.passed else "failed"
        cosine = "" if self.least_cosine is None else f", least cosine {self.least_cosine:.6f}"
        return f"<Proof {verdict}: {self.images:,} images of {self.classes:,} classes{cosine}>"

    def to_json(self) -> dict[str, Any]:
        """Return the content of proof.json."""
        return self.model_dump(mode="json")

    def summary(self) -> ProofSummary:
        """Return what the exported file keeps of it."""
        first, mean = self.recall_at_1, self.map_at_r
        has_interval = mean is not None and mean.low is not None and mean.high is not None
        return ProofSummary(
            passed=self.passed,
            problems=self.problems,
            table=self.table or "",
            images=self.images,
            classes=self.classes,
            least_cosine=self.least_cosine,
            mean_cosine=self.mean_cosine,
            top_10_agreement=self.top_10_agreement,
            recall_at_1=first and first.exported,
            map_at_r=mean and mean.exported,
            recall_at_1_before=first and first.reference,
            map_at_r_before=mean and mean.reference,
            map_at_r_change=(mean.low, mean.high) if mean is not None and has_interval else None,
        )

    def sentence(self) -> str:
        """Return the proof in a sentence, for a model card or a line of a log."""
        verdict = "passed" if self.passed else "failed"
        where = f"on {self.images:,} images of {self.classes:,} classes"
        if self.least_cosine is None or self.map_at_r is None:
            return f"the proof {verdict} {where}: {'; '.join(self.problems) or 'nothing could be compared'}"
        change = self.map_at_r.difference
        return (
            f"the proof {verdict} {where}: least cosine to the checkpoint's embeddings {self.least_cosine:.6f}, "
            f"MAP@R {self.map_at_r.reference:.4f} → {self.map_at_r.exported:.4f} ({change:+.4f})"
        )
