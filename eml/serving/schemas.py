"""Bodies of requests and answers, as the page of the interface describes them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from annotated_types import Ge, Lt
from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field

TINY = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGM4UaEBAAN0AWnL+tDXAAAAAElFTkSuQmCC"
)
"""An image of one pixel."""


def _several(value: Any) -> Any:
    """Return a single text or number as a list of one."""
    return [value] if isinstance(value, str | int | float) and not isinstance(value, bool) else value


def _no_flag(value: Any) -> Any:
    """Return a value, or raise a ValueError for true and false, which pydantic would take for 1 and 0."""
    if isinstance(value, bool):
        raise ValueError("must be a whole number, not true or false")
    return value


class _EndsAtFirst(FailFast):
    """Ends a list at its first wrong item: an error for each of a million would take seconds."""

    __hash__ = object.__hash__  # for `| None`


Number = Annotated[int, Ge(-(2**63)), Lt(2**63), BeforeValidator(_no_flag)]
Texts = Annotated[list[str], _EndsAtFirst(), BeforeValidator(_several)]
Ids = Annotated[list[Annotated[int, Field(ge=1, lt=2**63)]], _EndsAtFirst(), BeforeValidator(_several)]
Images = Annotated[
    Texts, Field(description="Images as data URIs (data:image/jpeg;base64,…), or addresses where these are allowed.")
]
ModelName = Annotated[str | None, Field(description="The name or fingerprint of the model that is served.")]


class _RequestBody(BaseModel):
    model_config = ConfigDict(extra="forbid", str_strip_whitespace=False)


class EmbeddingsRequest(_RequestBody):
    """Images or texts to embed, as OpenAI's embeddings endpoint takes them."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"input": [TINY], "encoding_format": "float"}]})

    input: Images = []
    model: ModelName = None
    modality: Literal["image", "text"] | None = Field(
        None, description="Of the input. Default: image where all are data URIs or addresses, else text."
    )
    encoding_format: Literal["float", "base64"] = Field(
        "float", description="base64: the float32 numbers, little-endian."
    )
    dimensions: Number | None = Field(None, description="The first numbers of each embedding, to unit length again.")
    user: str | None = Field(None, description="Is read past.")


class SearchRequest(_RequestBody):
    """Images and texts whose nearest images of the index are asked for."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"input": [TINY], "k": 3, "where": "label != 'mug'"}]})

    input: Images = []
    text: Texts = Field([], description="Queries in words, for a model with a text tower.")
    k: Number = Field(5, description="Neighbours of each query.")
    where: str | None = Field(None, description="A condition on the images of the index.")
    per_class: bool = Field(False, description="Only the nearest image of each class.")
    classify: bool = Field(False, description="Give the class of each image too, by the whole index.")


class ClassifyRequest(_RequestBody):
    """Images whose class is asked for."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"input": [TINY]}]})

    input: Images = []
    unknown_share: float | None = Field(
        None, description="The share of images of no class that is expected. Default: that of the calibration."
    )


class AddRequest(_RequestBody):
    """Images to add to the index."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"input": [TINY], "labels": ["mug"]}]})

    input: Images = []
    labels: Texts = Field([""], description="One for each image, or one for all. An empty one is none.")
    file_names: Texts | None = Field(None, description="One for each image: its name in the index, a relative path.")


class RemoveRequest(_RequestBody):
    """Names of what to remove from the index: all images of these labels, file names and ids."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"ids": [10]}]})

    labels: Texts = []
    file_names: Texts = []
    ids: Ids = []


class ErrorFacts(BaseModel):
    """An error. code: one of docs/errors.md."""

    code: str
    message: str
    param: str | None = None
    type: str


class ErrorReply(BaseModel):
    """The answer in place of an answer."""

    error: ErrorFacts


class ItemError(BaseModel):
    """Why an item has no answer."""

    code: str
    message: str


class EmbeddingFacts(BaseModel):
    """The embedding of one input; null, with an error, where the input cannot be read."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str | None
    error: ItemError | None = None


class Usage(BaseModel):
    """Counts of tokens, of which images have none."""

    prompt_tokens: int = 0
    total_tokens: int = 0


class EmbeddingsAnswer(BaseModel):
    """Embeddings in the order of the request."""

    object: Literal["list"] = "list"
    id: str
    created: int = Field(description="Seconds since 1970.")
    model: str = Field(description="The name of the model.")
    fingerprint: str = Field(description="The digest of what decides its embeddings.")
    data: list[EmbeddingFacts]
    usage: Usage = Usage()


class NeighbourFacts(BaseModel):
    """An image of the index near a query."""

    rank: int
    label: str
    cosine: float
    probability: float | None = Field(description="That it shows the query's class; null without a calibration.")
    file_name: str | None
    id: int


class ImageClass(BaseModel):
    """The class of one image."""

    image: str
    label: str | None
    unknown: bool | None = Field(description="Whether it counts as of no class; null without a calibration.")
    probability: float | None
    runner_up: str | None
    runner_up_probability: float | None
    margin: float | None
    cosine: float | None
    reason: str
    problem: ItemError | None = None


class QueryNeighbours(BaseModel):
    """The nearest images of one query, best first."""

    query: str
    is_text: bool = False
    neighbours: list[NeighbourFacts]
    classified: ImageClass | None = Field(None, description="Where `classify` was set.")
    problem: ItemError | None = None


class SearchAnswer(BaseModel):
    """The answers, all of one model and one generation of the index."""

    model: str = Field(description="The digest of the fingerprint of the model.")
    generation: int = Field(description="The number of changes of the index so far.")
    answers: list[QueryNeighbours]


class ClassifyAnswer(BaseModel):
    """The classes, all of one model and one generation of the index."""

    model: str = Field(description="The digest of the fingerprint of the model.")
    generation: int
    answers: list[ImageClass]


class AddedImage(BaseModel):
    """An image that was to be added: new, or there already, or not readable."""

    image: str
    id: int | None
    added: bool
    reason: str = Field("", description="Why an image that was read is not added: it is in the index already.")
    problem: ItemError | None = None


class ChangeAnswer(BaseModel):
    """A change of the index."""

    model: str
    generation: int = Field(description="After the change.")
    images: int = Field(description="In the index after it.")
    added: int
    removed: int
    calibrated: bool = Field(description="Whether answers have probabilities after it.")
    recalibrated: bool = Field(description="Whether the calibration was fitted again.")
    without_label: int = Field(description="Images that were to be added and have no label.")
    not_relabelled: int = Field(description="Images that are in the index with another label than the one sent.")
    warning: str | None = Field(None, description="What to know of the change; null: nothing.")
    items: list[AddedImage]


class IndexAnswer(BaseModel):
    """The state of the index."""

    name: str
    model: str
    generation: int
    images: int
    classes: int
    columns: dict[str, str] = Field(description="What a condition can name: text, number or bool.")
    calibrated: bool


class ModelFacts(BaseModel):
    """The model that is served."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "eml"
    fingerprint: str
    embedding_size: int
    image_size: list[int] = Field(description="Height and width (pixels).")
    backbone: str
    precision: str
    runtime: str
    modalities: list[str]


class ModelsAnswer(BaseModel):
    """The models that are served: one."""

    object: Literal["list"] = "list"
    data: list[ModelFacts]


class HealthAnswer(BaseModel):
    """Whether the server answers."""

    status: Literal["ok", "closing", "failing"]
    model: str
    generation: int | None
    queue: int
