"""The text of a model card, README.md: front matter for the hub, then what is recorded of a model, and no more."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined, Template

from eml.exporting.hub.card_facts import METRICS, RANDOM, CardFacts, MeasuredTable, read_card_facts
from eml.files import write_text
from eml.inference.exported.facts import ExportFacts, ProofSummary
from eml.models.hub_folder import CARD

_LICENCES = (
    "apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 afl-3.0 "
    "artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 "
    "cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 "
    "cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 ecl-2.0 epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 "
    "eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc lppl-1.3c ms-pl mpl-2.0 odc-by odbl "
    "openrail++ osl-3.0 postgresql ofl-1.1 ncsa unlicense zlib pddl unknown other"
)
LICENCES = frozenset(_LICENCES.split())
"""The hub's names of licences; any other licence is `other` there, with a name of its own."""
NOT_STATED = "not stated"
_TAGS = ("sentence-transformers", "timm", "image-feature-extraction", "image-retrieval", "metric-learning")


def write_card(folder: Path, facts: ExportFacts) -> None:
    """Write the model card of a hub folder, with the proof where there is one."""
    text = card_text(folder.name, read_card_facts(folder), proof_text(facts.proof), facts.eml_version)
    write_text(folder / CARD, text)


def proof_text(proof: ProofSummary | None) -> str:
    """Return a proof in a sentence; empty where there is none."""
    if proof is None:
        return ""
    verdict = "passed" if proof.passed else "failed"
    cosine = "" if proof.least_cosine is None else f", least cosine of an image's embeddings {proof.least_cosine:.6f}"
    metrics = [
        f"{name} {before:.4f} → {after:.4f}"
        for name, before, after in (
            ("R@1", proof.recall_at_1_before, proof.recall_at_1),
            ("MAP@R", proof.map_at_r_before, proof.map_at_r),
        )
        if before is not None and after is not None
    ]
    images = f"{proof.images:,} images of {_cell(proof.table)}" if proof.table else f"{proof.images:,} images"
    return f"the proof {verdict} on {images}{cosine}{''.join(f', {text}' for text in metrics)}"


def card_text(name: str, card: CardFacts, proof: str = "", version: str = "") -> str:
    """Return the model card.

    Args:
        name: Of the model.
        card: What is recorded of it.
        proof: The proof in a sentence; empty: nothing was proven.
        version: Of the eml that wrote it.
    """
    text = _template().render(
        name=name,
        card=card,
        version=version,
        proof=proof,
        metrics=list(METRICS.values()),
        rows=[_row(table) for table in card.measured],
        confidence=f"{100 * card.measured[0].confidence:g}" if card.measured else "",
        trained_on=_trained_on(card),
        training=", ".join(f"{setting} {value}" for setting, value in card.training.items()),
        limits=_limits(card),
        licence=_licence(card),
    )
    return f"{_front_matter(card)}\n\n{text}"


@cache
def _template() -> Template:
    text = Path(__file__).with_name("card.md").read_text(encoding="utf-8")
    environment = Environment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    return environment.from_string(text)


def _front_matter(card: CardFacts) -> str:
    """Return the YAML by which the hub lists the model.

    A licence that nobody stated is not in it, and that of timm's weights is not that of a network trained from them.
    """
    data: dict[str, Any] = {
        "library_name": "sentence-transformers",
        "pipeline_tag": "image-feature-extraction",
        "tags": list(_TAGS),
    }
    is_untouched = card.start is not None and card.trained_classes is None
    licence = card.licence or (card.start.licence if is_untouched and card.start else None)
    if licence is not None:
        known = licence.lower() in LICENCES
        data["license"] = licence.lower() if known else "other"
        if not known:
            data["license_name"] = re.sub(r"[^a-z0-9.-]+", "-", licence.lower()).strip("-")
    if card.start is not None and card.start.repository:
        data["base_model"] = card.start.repository
    return f"---\n{yaml.safe_dump(data, sort_keys=False, allow_unicode=True)}---"


def _trained_on(card: CardFacts) -> str:
    if card.trained_classes is None:
        return "Not trained by eml." if card.start is not None else "Not recorded."
    images = "images whose number is not recorded" if card.trained_images is None else f"{card.trained_images:,} images"
    return f"{images[0].upper()}{images[1:]} of {card.trained_classes:,} classes, runs that it started from included."


def _row(table: MeasuredTable) -> list[str]:
    """Return the cells of a table that was measured."""
    values = [_value(table, metric) for metric in METRICS]
    return [_cell(table.name), *values, f"{table.queries:,}", f"{table.classes:,}", table.overlap]


def _value(table: MeasuredTable, metric: str) -> str:
    value, interval = table.values[metric], table.intervals.get(metric)
    return f"{value:.3f}" if interval is None else f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("\n", " ")


def _limits(card: CardFacts) -> list[str]:
    return [
        *card.left_out,
        *card.differences,
        "What stands under Measured holds for images like those of its tables."
        if card.measured
        else "How well it finds images is not recorded.",
        "An embedding says which images are alike by the classes of the training, not what is in an image.",
    ]


def _licence(card: CardFacts) -> str:
    start = card.start
    if start is None or start.words == RANDOM:
        return f"Of this model: {card.licence or NOT_STATED}."
    stated = f"{start.licence}, as timm states it" if start.licence else NOT_STATED
    if card.trained_classes is None:
        return f"Of {start.words}: {stated}." + (f" Of this folder: {card.licence}." if card.licence else "")
    return f"Of this model: {card.licence or NOT_STATED}. Of {start.words}, which training began with: {stated}."
