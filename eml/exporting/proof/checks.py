"""The checks of a proof as rows: what was measured, what has to hold, and whether it does."""

from collections.abc import Iterator
from dataclasses import dataclass

from eml.exporting.proof.limits import SAME_IN_BATCHES, UNIT
from eml.exporting.proof.record import Proof, ProvedMetric


@dataclass(frozen=True)
class ProofCheck:
    """A row of the table of a proof.

    Attributes:
        name: What is measured.
        measured: The value, as text.
        limit: What has to hold, as text; empty: nothing is required.
        holds: Whether it does.
    """

    name: str
    measured: str
    limit: str = ""
    holds: bool = True


def proof_checks(proof: Proof) -> list[ProofCheck]:
    """Return the rows of a proof."""
    return [*embedding_checks(proof), *retrieval_checks(proof)]


def embedding_checks(proof: Proof) -> list[ProofCheck]:
    """Return the rows of how the embeddings agree, the most important ones first."""
    return [*_of_embeddings(proof), *_of_use(proof)]


def _of_embeddings(proof: Proof) -> Iterator[ProofCheck]:
    least, limit = proof.least_cosine, proof.limits.least_cosine
    if least is None:
        yield ProofCheck("least cosine", "cannot be compared", "", False)
        return
    bound = "" if limit is None else f"≥ {limit:g}"
    yield ProofCheck("least cosine", cosine(least), bound, limit is None or least >= limit)
    if proof.mean_cosine is not None:
        yield ProofCheck("mean cosine", cosine(proof.mean_cosine))
    if proof.largest_difference is not None:
        most = proof.most_difference
        bound = "" if most is None else f"≤ {most:.1g}, by rounding"
        holds = most is None or proof.largest_difference <= most
        yield ProofCheck(
            "largest difference",
            f"{proof.largest_difference:.2g}"
            if proof.largest_difference >= 1e-3
            else f"{proof.largest_difference:.1e}",
            bound,
            holds,
        )
    if proof.top_10_agreement is not None:
        yield ProofCheck("10 nearest the same", share(proof.top_10_agreement))
    if proof.shortest is not None and proof.longest is not None:
        low, high = proof.shortest, proof.longest
        off = max(abs(low - 1), abs(high - 1))
        shown = "1" if off < UNIT / 10 else f"{low:.4g} … {high:.4g}"
        yield ProofCheck("length of embeddings", shown, f"1 ± {UNIT:g}", off <= UNIT)


def retrieval_checks(proof: Proof) -> list[ProofCheck]:
    """Return the rows of R@1 and MAP@R."""
    checks = [] if proof.recall_at_1 is None else [ProofCheck("R@1", change(proof.recall_at_1))]
    if (metric := proof.map_at_r) is not None:
        holds = loss_of(proof, metric) <= proof.limits.most_loss
        checks.append(ProofCheck("MAP@R", change(metric), loss_limit(proof), holds))
    return checks


def loss_limit(proof: Proof) -> str:
    """Return what MAP@R must keep to, as text."""
    most = proof.limits.most_loss
    return f"loses ≤ {most:g}" if proof.limits.least_cosine is not None else f"interval above −{most:g}"


def loss_of(proof: Proof, metric: ProvedMetric) -> float:
    """Return the loss that the limit is about: the measured one, or with fewer bits the most that the interval allows.

    Without an interval it is 1.
    """
    if proof.limits.least_cosine is not None or metric.alike:
        return -metric.difference
    return 1.0 if metric.low is None else -metric.low


def _of_use(proof: Proof) -> Iterator[ProofCheck]:
    if proof.batches:
        sizes = ", ".join(str(batch.images) for batch in proof.batches)
        cosines = [batch.least_cosine for batch in proof.batches if batch.least_cosine is not None]
        broken = ", ".join(str(batch.images) for batch in proof.batches if batch.least_cosine is None)
        differences = [batch.largest_difference or 0.0 for batch in proof.batches]
        least = proof.limits.least_cosine or SAME_IN_BATCHES
        most = proof.most_difference
        holds = not broken and min(cosines) >= least and (most is None or max(differences) <= most)
        shown = f"none of {broken}" if broken else f"least cosine {cosine(min(cosines))}"
        yield ProofCheck(f"batches of {sizes}", shown, "the same embeddings", holds)
    limit = proof.limits.least_cosine
    for name, value in (("read from files", proof.from_files), ("grey images tinted", proof.tinted_cosine)):
        if value is not None:
            bound = "" if limit is None else f"≥ {limit:g}"
            yield ProofCheck(name, cosine(value), bound, limit is None or value >= limit)
    if (texts := proof.texts) is not None:
        shown = "cannot be compared" if texts.least_cosine is None else f"least cosine {cosine(texts.least_cosine)}"
        yield ProofCheck(f"{texts.awkward + texts.labels:,} texts", shown, f"≥ {texts.limit:g}", texts.passed)


def cosine(value: float) -> str:
    """Format a cosine so that how far it is from 1 shows: `0.9987`, `0.99999931`, `1 − 2e-12`."""
    off = 1 - value
    if off < 1e-8:
        return "1" if off < 1e-15 else f"1 − {off:.0e}"
    return f"{value:.8f}" if off < 1e-5 else f"{value:.6f}" if off < 1e-2 else f"{value:.4f}"


def share(value: float) -> str:
    """Format a share as percent, 100 % only where it is all of it."""
    return "100 %" if value == 1 else f"{min(100 * value, 99.9):.1f} %"


def change(metric: ProvedMetric) -> str:
    """Format the change of a metric: `0.8532 → 0.8514 (−0.0018; −0.0041 … +0.0005)`."""
    both = f"{metric.reference:.4f} → {metric.exported:.4f}"
    if metric.alike:
        return f"{both} (no query changed)"
    span = "" if metric.low is None or metric.high is None else f"; {signed(metric.low)} … {signed(metric.high)}"
    return f"{both} ({signed(metric.difference)}{span})"


def signed(value: float) -> str:
    """Format a difference with its sign: `+0.0005`, `−0.0018`."""
    return f"{value:+.4f}".replace("-", "−")
