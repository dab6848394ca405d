"""A file that was just written: proved on its images, and calibrated where it passed."""

from dataclasses import dataclass, replace
from pathlib import Path

from eml.exporting.calibrating import calibrate_export
from eml.exporting.formats import ExportFormat
from eml.exporting.proof.images import ProofImages
from eml.exporting.proof.prove import ProofRun, prove
from eml.exporting.proof.record import Proof, ProofLimits
from eml.exporting.proof.timing import SECONDS
from eml.files import write_json
from eml.inference.exported.facts import ExportFacts
from eml.inference.exported.model import ExportedModel
from eml.inference.exported.text_facts import TextProof
from eml.inference.model import Model
from eml.json_files import is_json_with
from eml.models.calibration import Calibration
from eml.progress import Progress, Report, no_progress


@dataclass(frozen=True)
class ProofOutcome:
    """A proved file.

    Attributes:
        run: The proof, with what its page shows.
        calibration: What the file carries; None: it is not calibrated.
        calibration_line: What became of the checkpoint's calibration, in a sentence.
    """

    run: ProofRun
    calibration: Calibration | None
    calibration_line: str

    @property
    def proof(self) -> Proof:
        """The proof."""
        return self.run.proof

    def with_texts(self, texts: TextProof | None) -> "ProofOutcome":
        """Return the outcome with the proof of a text tower beside the file, which fails the whole where it failed."""
        if texts is None:
            return self
        problems = [*self.proof.problems, *(f"the text tower: {problem}" for problem in texts.problems)]
        proof = self.proof.model_copy(update={"texts": texts, "problems": problems, "passed": not problems})
        return replace(self, run=replace(self.run, proof=proof))

    def update(self, facts: ExportFacts) -> ExportFacts:
        """Return the facts of the file with the proof and the calibration."""
        return facts.model_copy(update={"proof": self.proof.summary(), "calibration": self.calibration})


def prove_file(
    form: ExportFormat,
    path: Path,
    model: Model,
    facts: ExportFacts,
    images: ProofImages,
    limits: ProofLimits,
    *,
    seconds: float = SECONDS,
    report: Report = lambda line: None,
    progress: Progress = no_progress,
) -> ProofOutcome:
    """Prove a file that was written, and calibrate it if it passed.

    Args:
        form: Its format.
        path: The file, with its facts.
        model: The model that it was made from, on a CPU.
        facts: What the file says of itself.
        images: The images.
        limits: What has to hold.
        seconds: Time for the measurement of each batch size; 0: it is not timed.
        report: Receives the lines about the calibration's table.
        progress: Reports the images that are embedded.
    """
    candidate = form.opened(path)
    timed = ExportedModel(path, 1) if seconds and isinstance(candidate, ExportedModel) else candidate
    run = prove(
        form.reference(model),
        candidate,
        images,
        limits,
        precision=facts.precision,
        timed=timed,
        seconds=seconds,
        graph=facts.graph,
        progress=progress,
    )
    calibration, line = None, ""
    if run.proof.passed and isinstance(candidate, ExportedModel):
        calibration, line = calibrate_export(model, candidate, run.proof, report=report, progress=progress)
    return ProofOutcome(run, calibration, line)


def is_proof(path: Path) -> bool:
    """Return whether a file is the JSON of a proof."""
    return is_json_with(path, {"eml_version", "passed", "problems", "limits"})


def write_proof(proof: Proof, path: Path) -> None:
    """Write the JSON of a proof."""
    write_json(path, proof.to_json())
