"""The options of an evaluation."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from eml.dataset.column_map import AS_NAMED, ColumnMap
from eml.errors import ConfigError, EmlError, Problem
from eml.images.image_size import Size
from eml.inference.embeddings_file import is_embeddings_file
from eml.inference.load import TIMM, check_backbone_name, is_backbone
from eml.models.config import PrecisionChoice, Tta
from eml.texts.class_texts import TextSource
from eml.texts.templates import fields_of


@dataclass(frozen=True)
class EvaluationOptions:
    """Which models to measure, on which images, and what to compute and keep.

    Attributes:
        checkpoints: Runs, checkpoints, timm:NAME or embeddings files. Several are compared.
        data: Tables or folders. Embeddings files with labels need none.
        root: The folder that the tables' file names start from.
        columns: How tables of the user's own are read.
        weights: For timm:NAME: pretrained, none (random), or a weights file.
        image_size: Side of the image as the network sees it (pixels), or (height, width); the model's own by default.
        precision: Of the networks: float32, bfloat16, or auto, by the device.
        tta: Test-time augmentation, none or flip; None: as each checkpoint says.
        leave_out_same: Gallery images with the query's class and value in this column are ignored.
        within: Queries are compared with gallery images of their own value in this column alone.
        queries: Draw so many queries where there are more; None for all. See `draw_queries`.
        recall_at: The Ks of R@K; 1 is always among them. None: as a table's protocol says, else 1, 5 and 10.
        unknown_label: The label of images of unknown identity; None: as the table or a checkpoint says.
        against: A model to compare each of the checkpoints with.
        gallery_model: A model to embed the gallery with, as that of an index was: each checkpoint embeds the queries
            alone, and is compared with this model alone.
        slices: Columns to measure by.
        pairs: A file of pairs, for verification by these.
        verification: Whether to verify by all pairs.
        clustering: Whether to measure k-means.
        whiten: A table, or an embeddings file, to learn a PCA whitening of the embeddings from.
        augment_database: Measure with each gallery image averaged with so many neighbours.
        query_expansion: Measure with each query averaged with so many neighbours.
        rerank: Measure with k-reciprocal re-ranking by lists of so many neighbours.
        text_column: Columns with texts of the images: retrieval by text is measured.
        template: Texts of the classes, with {label} or {COLUMN}: zero-shot classification is measured.
        names: A file with a text for each label, in place of the label.
        text_vectors: A file of text vectors of the classes, in place of the model's text tower.
        adapt_on: A table, or an embeddings file, of labelled images for a cache beside the texts of the classes.
        out: Where to write; by default into the folder `evaluations` of the run.
        save_embeddings: Whether to write embeddings.npz.
        batch_size: Images computed at once.
        workers: Worker processes that load images; 0 loads them in the process itself.
        device: auto, cpu, cuda, cuda:N or mps.
    """

    checkpoints: Sequence[str] = ()
    data: Sequence[Path] = ()
    root: Path | None = None
    columns: ColumnMap = AS_NAMED
    weights: str = "pretrained"
    image_size: Size | None = None
    precision: PrecisionChoice = "float32"
    tta: Tta | None = None
    leave_out_same: str | None = None
    within: str | None = None
    queries: int | None = None
    recall_at: Sequence[int] = ()
    unknown_label: str | None = None
    against: str | None = None
    gallery_model: str | None = None
    slices: Sequence[str] = ()
    pairs: Path | None = None
    verification: bool = False
    clustering: bool = False
    whiten: Path | None = None
    augment_database: int | None = None
    query_expansion: int | None = None
    rerank: int | None = None
    text_column: Sequence[str] = ()
    template: Sequence[str] = ()
    names: Path | None = None
    text_vectors: Path | None = None
    adapt_on: Path | None = None
    out: Path | None = None
    save_embeddings: bool = False
    batch_size: int = 64
    workers: int = 0
    device: str = "auto"

    @property
    def models(self) -> list[str]:
        """The checkpoints, the one to compare with, and that of the gallery."""
        return [*self.checkpoints, *(name for name in (self.against, self.gallery_model) if name)]

    @property
    def class_texts(self) -> TextSource | Path | None:
        """The source of the texts of the classes; None where none is given."""
        if self.text_vectors is not None:
            return self.text_vectors
        if not self.template and self.names is None:
            return None
        templates = {"template": tuple(self.template)} if self.template else {}
        return TextSource(names=self.names, **templates)

    def of_images_alone(self) -> "EvaluationOptions":
        """Return the options for the model to compare with, or of the gallery: its images alone are measured."""
        images = replace(self, whiten=None, adapt_on=None)
        return replace(images, text_column=(), template=(), names=None, text_vectors=None)

    @property
    def has_texts(self) -> bool:
        """Whether anything is measured with texts."""
        return bool(self.text_column or self.template or self.names or self.text_vectors)

    def columns_of(self, table: Path) -> ColumnMap:
        """Return how one of the tables is read."""
        return self.columns.of_several(table) if len(self.data) > 1 else self.columns

    @property
    def needs_images(self) -> bool:
        """Whether any of the models embeds images."""
        return not all(is_embeddings_file(model) for model in self.models)

    def check(self) -> None:
        """Check that the options fit together and that timm has the models.

        Raises:
            ConfigError: They do not, with all problems.
        """
        if problems := list(self._problems()):
            raise ConfigError(problems)

    def _problems(self) -> Iterator[Problem]:
        if not self.data and self.needs_images:
            yield Problem("give the images to evaluate on as `data`: a table or a folder", "missing-key", "data")
        if self.pairs and self.verification:
            text = "`verification` is by all pairs, `pairs` by those of a file; give one of them"
            yield Problem(text, "conflicting-settings", "pairs")
        yield from self._problems_of_images("whiten", self.whiten)
        yield from self._problems_of_texts()
        yield from self._problems_across_models()
        for model in self.models:
            try:
                check_backbone_name(model)
            except EmlError as error:
                yield from error.problems
        if self.weights != "pretrained" and not any(is_backbone(model) for model in self.models):
            text = f"`weights` are for {TIMM}NAME, and none is given; a checkpoint has its own"
            yield Problem(text, "conflicting-settings", "weights")
        if not self.needs_images:
            for name, usual in (("precision", "float32"), ("tta", None), ("image_size", None)):
                if getattr(self, name) != usual:
                    text = f"`{name}` is for models, and only embeddings that were made elsewhere are given"
                    yield Problem(text, "conflicting-settings", name)
        if self.weights not in ("pretrained", "none") and not Path(self.weights).exists():
            text = f"`weights` {self.weights}: there is no such file; allowed: pretrained, none, or a weights file"
            yield Problem(text, "missing-file", "weights")

    def _problems_of_images(self, name: str, source: Path | None) -> Iterator[Problem]:
        """Yield what is wrong with images to learn from, which are of the kind of those that are measured."""
        if source is None:
            return
        if not source.exists():
            yield Problem(f"`{name}` {source}: there is no such file or folder", "missing-file", name)
        kinds = {is_embeddings_file(model) for model in self.checkpoints}
        if kinds != {is_embeddings_file(str(source))}:
            text = (
                "of a model it is a table or folder of images, of an embeddings file one of the same model's embeddings"
            )
            yield Problem(f"`{name}` {source}: {text}", "conflicting-settings", name)

    def _problems_across_models(self) -> Iterator[Problem]:
        """Yield the options that say nothing of the queries of one model on the gallery of another."""
        if self.gallery_model is None:
            return
        why = {
            "against": f"the comparison is with {self.gallery_model} alone, whose gallery it is",
            "whiten": "each model has a whitening of its own, and whitened embeddings of two cannot be compared",
            "clustering": "k-means needs all embeddings by one model",
            "save_embeddings": "a file holds the embeddings of one model; eml embed writes those of each",
        }
        texts = dict.fromkeys(
            ("text_column", "template", "names", "text_vectors", "adapt_on"),
            "texts are measured with the images of their own model",
        )
        for name, reason in (why | texts).items():
            if getattr(self, name):
                text = f"`{name}` has no meaning with `gallery_model`: {reason}. Leave one of them out"
                yield Problem(text, "conflicting-settings", name)

    def _problems_of_texts(self) -> Iterator[Problem]:
        yield from self._problems_of_images("adapt_on", self.adapt_on)
        own = [name for name in ("template", "names") if getattr(self, name)]
        if self.adapt_on is not None and not own and self.text_vectors is None:
            text = "`adapt_on` is measured beside the texts of the classes; give these too, as `template`, such as"
            yield Problem(f'{text} "a photo of a {{label}}"', "missing-key", "adapt_on")
        if self.text_vectors is not None and own:
            text = f"`{own[0]}` has no effect beside `text_vectors`, which have the texts in them"
            yield Problem(text, "conflicting-settings", own[0])
        for path, name in ((self.names, "names"), (self.text_vectors, "text_vectors")):
            if path is not None and not path.is_file():
                yield Problem(f"`{name}` {path}: there is no such file", "missing-file", name)
        for template in self.template:
            try:
                fields_of(template)
            except ValueError as error:
                yield Problem(f"`template` {error}", "invalid-value", "template")
        for model in self.checkpoints if self.text_column or own else ():
            name = "text_column" if self.text_column else own[0]
            if is_embeddings_file(model):
                text = "holds embeddings, and no network that embeds texts; vectors of the texts of the classes can be"
                text = f"`{name}`: {model} {text} given as `text_vectors`, by the text tower of the network"
                yield Problem(text, "no-text-tower", name)
            elif model.startswith(TIMM):
                text = f"`{name}`: {model} has no text tower, so it embeds images alone"
                yield Problem(text, "no-text-tower", name)
