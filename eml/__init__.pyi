"""Made by docs/tools/make_stub.py from the commands' configs: do not edit."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, overload

from eml.commands.audit import AuditConfig, AuditResult
from eml.commands.backbones import BackbonesConfig, BackbonesResult
from eml.commands.cache import FillCacheConfig, FillCacheResult
from eml.commands.calibrate import CalibrateConfig, CalibrateResult
from eml.commands.classify import ClassifyConfig, ClassifyResult
from eml.commands.compress import CompressConfig, CompressResult
from eml.commands.demo import DemoConfig, DemoResult
from eml.commands.doctor import DoctorConfig, DoctorResult
from eml.commands.embed import EmbedConfig, EmbedResult
from eml.commands.ensemble import EnsembleConfig, EnsembleResult
from eml.commands.evaluate import EvaluateConfig, EvaluateResult
from eml.commands.export import ExportConfig, ExportResult
from eml.commands.filter import FilterConfig, FilterResult
from eml.commands.index_add import AddToIndexConfig, AddToIndexResult
from eml.commands.index_build import BuildIndexConfig, BuildIndexResult
from eml.commands.index_calibrate import CalibrateIndexConfig, CalibrateIndexResult
from eml.commands.index_compact import CompactIndexConfig, CompactResult
from eml.commands.index_export import ExportIndexConfig, ExportIndexResult
from eml.commands.index_info import IndexInfoConfig, IndexInfoResult
from eml.commands.index_remove import RemoveFromIndexConfig, RemoveResult
from eml.commands.index_verify import VerifyIndexConfig, VerifyResult
from eml.commands.init import InitConfig, InitResult
from eml.commands.kfold import KFoldConfig, KFoldResult
from eml.commands.margins import MarginsConfig, MarginsResult
from eml.commands.merge import MergeConfig, MergeResult
from eml.commands.merge_shards import MergeShardsConfig, MergeShardsResult
from eml.commands.pack import PackConfig, PackResult
from eml.commands.plot import PlotConfig, PlotResult
from eml.commands.probe import ProbeConfig, ProbeResult
from eml.commands.protocol import ProtocolConfig, ProtocolResult
from eml.commands.push import PushConfig, PushResult
from eml.commands.report import ReportConfig, ReportOutcome
from eml.commands.scan import ScanConfig, ScanResult
from eml.commands.search import SearchConfig, SearchResult
from eml.commands.serve import ServeConfig, ServeResult
from eml.commands.serve_key_add import AddServeKeyConfig, AddServeKeyResult
from eml.commands.serve_key_list import ListServeKeysConfig, ServeKeysResult
from eml.commands.serve_key_remove import RemoveServeKeyConfig, RemoveServeKeyResult
from eml.commands.sharded import ShardResult, SubmittedResult
from eml.commands.split import SplitConfig, SplitResult
from eml.commands.suspects import SuspectsConfig, SuspectsResult
from eml.commands.sweep import SweepConfig, SweepResult
from eml.commands.text import TextConfig, TextResult
from eml.commands.train import Outcome, TrainConfig, TrainResult
from eml.commands.upload import UploadConfig, UploadResult
from eml.config.plugins import load_plugins as load_plugins
from eml.errors import EmlError as EmlError
from eml.head.class_head import ClassHead as ClassHead
from eml.head.functional import margin_logits as margin_logits
from eml.head.functional import margin_loss as margin_loss
from eml.indexing.index import Index as Index
from eml.inference.any_model import load as load
from eml.inference.model import Model as Model
from eml.progress import Progress
from eml.training.config import RunConfig as RunConfig

__version__: str
__all__ = [
    "ClassHead",
    "EmlError",
    "Index",
    "Model",
    "RunConfig",
    "__version__",
    "add_serve_key",
    "add_to_index",
    "audit",
    "backbones",
    "build_index",
    "calibrate",
    "calibrate_index",
    "classify",
    "compact_index",
    "compress",
    "demo",
    "doctor",
    "embed",
    "ensemble",
    "evaluate",
    "export",
    "export_index",
    "fill_cache",
    "filter",
    "index_info",
    "init",
    "kfold",
    "list_margins",
    "list_serve_keys",
    "load",
    "load_plugins",
    "margin_logits",
    "margin_loss",
    "merge",
    "merge_shards",
    "pack",
    "plot",
    "probe",
    "protocol",
    "push",
    "remove_from_index",
    "remove_serve_key",
    "report",
    "scan",
    "search",
    "serve",
    "split",
    "suspects",
    "sweep",
    "text",
    "train",
    "upload",
    "verify_index",
]

@overload
def scan(config: ScanConfig, /, *, progress: Progress | bool | None = None, **changes: Any) -> ScanResult: ...
@overload
def scan(
    dataset: str | Path,
    *,
    hashes: bool = ...,
    hash_exact: bool = ...,
    class_level: str | int | None = ...,
    unknown_label: str | None = ...,
    workers: int | None = ...,
    out: str | Path | None = ...,
    report: bool = ...,
    reread: bool = ...,
    overwrite: bool = ...,
    shards: None = ...,
    shard: None = ...,
    executor: Literal["local", "ray"] | None = ...,
    executor_options: str | Sequence[str] = ...,
    address: str | None = ...,
    progress: Progress | bool | None = None,
) -> ScanResult: ...
@overload
def scan(
    dataset: str | Path,
    *,
    hashes: bool = ...,
    hash_exact: bool = ...,
    class_level: str | int | None = ...,
    unknown_label: str | None = ...,
    workers: int | None = ...,
    out: str | Path | None = ...,
    report: bool = ...,
    reread: bool = ...,
    overwrite: bool = ...,
    shards: int,
    shard: int | None = ...,
    executor: None = ...,
    executor_options: str | Sequence[str] = ...,
    address: str | None = ...,
    progress: Progress | bool | None = None,
) -> ShardResult: ...
@overload
def scan(
    dataset: str | Path,
    *,
    hashes: bool = ...,
    hash_exact: bool = ...,
    class_level: str | int | None = ...,
    unknown_label: str | None = ...,
    workers: int | None = ...,
    out: str | Path | None = ...,
    report: bool = ...,
    reread: bool = ...,
    overwrite: bool = ...,
    shards: int | None = ...,
    shard: int | None = ...,
    executor: Literal["local", "ray", "slurm"],
    executor_options: str | Sequence[str] = ...,
    address: str | None = ...,
    progress: Progress | bool | None = None,
) -> ScanResult | SubmittedResult: ...
@overload
def protocol(
    config: ProtocolConfig,
    /,
    *,
    progress: Progress | bool | None = None,
    **changes: Any,
) -> ProtocolResult: ...
@overload
def protocol(
    protocol: str,
    dataset: str | Path,
    *,
    boxes: bool = ...,
    read: bool = ...,
    workers: int | None = ...,
    out: str | Path | None = ...,
    overwrite: bool = ...,
    progress: Progress | bool | None = None,
) -> ProtocolResult: ...
@overload
def merge(config: MergeConfig, /, *, progress: Progress | bool | None = None, **changes: Any) -> MergeResult: ...
@overload
def merge(
    datasets: str | Path | Sequence[str | Path],
    *,
    out: str | Path,
    labels: Literal["apart", "merged"] = ...,
    unknown_label: str | None = ...,
    root: str | Sequence[str] = ...,
    file_column: str | None = ...,
    label_column: str | None = ...,
    strip_prefix: str | None = ...,
    path_prefix: str | None = ...,
    path_suffix: str | None = ...,
    match_names: bool = ...,
    overwrite: bool = ...,
    progress: Progress | bool | None = None,
) -> MergeResult: ...
@overload
def filter(config: FilterConfig, /, *, progress: Progress | bool | None = None, **changes: Any) -> FilterResult: ...
@overload
def filter(
    dataset: str | Path,
    *,
    dedup: bool = ...,
    threshold: int | None = ...,
    scope: Literal["class", "dataset"] | None = ...,
    keep: Literal["largest", "most-bytes", "first", "last"] | None = ...,
    hash_only: bool = ...,
    conflicts: Literal["remove", "keep"] | None = ...,
    min_size: int | None = ...,
    max_size: int | None = ...,
    min_per_class: int | None = ...,
    exclude: str | Path | Sequence[str | Path] = ...,
    class_level: str | int | None = ...,
    unknown_label: str | None = ...,
    root: str | Path | None = ...,
    file_column: str | None = ...,
    label_column: str | None = ...,
    strip_prefix: str | None = ...,
    path_prefix: str | None = ...,
    path_suffix: str | None = ...,
    match_names: bool = ...,
    out: str | Path | None = ...,
    overwrite: bool = ...,
    progress: Progress | bool | None = None,
) -> FilterResult: ...
@overload
def split(config: SplitConfig, /, *, progress: Progress | bool | None = None, **changes: Any) -> SplitResult: ...
@overload
def split(
    dataset: str | Path,
    column: str | None = ...,
    *,
    by: Literal["counts", "ratio", "alternate", "column"] = ...,
    min_n_samples: int | None = ...,
    max_n_samples: int | None = ...,
    test_ratio: float | None = ...,
    random_seed: int | None = ...,
    group_by: str | Sequence[str] = ...,
    threshold: int | None = ...,
    near: bool = ...,
    query_gallery: bool = ...,
    query_share: float | None = ...,
    class_level: str | int | None = ...,
    unknown_label: str | None = ...,
    root: str | Path | None = ...,
    file_column: str | None = ...,
    label_column: str | None = ...,
    strip_prefix: str | None = ...,
    path_prefix: str | None = ...,
    path_suffix: str | None = ...,
    match_names: bool = ...,
    out: str | Path | None = ...,
    overwrite: bool = ...,
    progress: Progress | bool | None = None,
) -> SplitResult: ...
@overload
def kfold(config: KFoldConfig, /, *, progress: Progress | bool | None = None, **changes: Any) -> KFoldResult: ...
@overload
def kfold(
    dataset: str | Path,
    *,
    k: int | None = ...,
    random_seed: int = ...,
    task: Literal["open", "closed"] = ...,
    by: Literal["images", "class"] | None = ...,
    group_by: str | Sequence[str] = ...,
    threshold: int | None = ...,
    near: bool = ...,
    class_level: str | int | None = ...,
    unknown_label: str | None = ...,
    root: str | Path | None = ...,
    file_column: str | None = ...,
    label_column: str | None = ...,
    strip_prefix: str | None = ...,
    path_prefix: str | None = ...,
    path_suffix: str | None = ...,
    match_names: bool = ...,
    out: str | Path | None = ...,
    overwrite: bool = ...,
    progress: Progress | bool | None = None,
) -> KFoldResult: ...
@overload
def audit(config: AuditConfig, /, *, progress: Progress | bool | None = None, **changes: Any) -> AuditResult: ...
@overload
def audit(
    train: str | Path,
    test: str | Path | None = ...,
    *,
    group_by: str | Sequence[str] = ...,
    threshold: int | None = ...,
    same_classes: bool = ...,
    unknown_label: str | None = ...,
    root: str | Path | None = ...,
    test_root: str | Path | None = ...,
    file_column: str | None = ...,
    label_column: str | None = ...,
    strip_prefix: str | None = ...,
    path_prefix: str | None = ...,
    path_suffix: str | None = ...,
    match_names: bool = ...,
    out: str | Path | None = ...,
    overwrite: bool = ...,
    strict: bool = ...,
    progress: Progress | bool | None = None,
) -> AuditResult: ...
@overload
def report(config: ReportConfig, /, *, progress: Progress | bool | None = None, **changes: Any) -> ReportOutcome: ...
@overload
def report(
    dataset: str | Path,
    *,
    threshold: int | None = ...,
    class_level: str | int | None = ...,
    unknown_label: str | None = ...,
    root: str | Path | None = ...,
    file_column: str | None = ...,
    label_column: str | None = ...,
    strip_prefix: str | None = ...,
    path_prefix: str | None = ...,
    path_suffix: str | None = ...,
    match_names: bool = ...,
    out: str | Path | None = ...,
    overwrite: bool = ...,
    plugins: str | Sequence[str] = ...,
    progress: Progress | bool | None = None,
) -> ReportOutcome: ...
@overload
def pack(config: PackConfig, /, *, progress: Progress | bool | None = None, **changes: Any) -> PackResult: ...
@overload
def pack(
    dataset: str | Path,
    out: str | Path,
    *,
    format: Literal["parquet", "tar"] = ...,
    shard_size: str = ...,
    leave_out: bool = ...,
    class_level: str | int | None = ...,
    unknown_label: str | None = ...,
    root: str | Path | None = ...,
    file_column: str | None = ...,
    label_column: str | None = ...,
    strip_prefix: str | None = ...,
    path_prefix: str | None = ...,
    path_suffix: str | None = ...,
    match_names: bool = ...,
    overwrite: bool = ...,
    shards: None = ...,
    shard: None = ...,
    executor: Literal["local", "ray"] | None = ...,
    executor_options: str | Sequence[str] = ...,
    address: str | None = ...,
    progress: Progress | bool | None = None,
) -> PackResult: ...
@overload
def pack(
    dataset: str | Path,
    out: str | Path,
    *,
    format: Literal["parquet", "tar"] = ...,
    shard_size: str = ...,
    leave_out: bool = ...,
    class_level: str | int | None = ...,
    unknown_label: str | None = ...,
    root: str | Path | None = ...,
    file_column: str | None = ...,
    label_column: str | None = ...,
    strip_prefix: str | None = ...,
    path_prefix: str | None = ...,
    path_suffix: str | None = ...,
    match_names: bool = ...,
    overwrite: bool = ...,
    shards: int,
    shard: int | None = ...,
    executor: None = ...,
    executor_options: str | Sequence[str] = ...,
    address: str | None = ...,
    progress: Progress | bool | None = None,
) -> ShardResult: ...
@overload
def pack(
    dataset: str | Path,
    out: str | Path,
    *,
    format: Literal["parquet", "tar"] = ...,
    shard_size: str = ...,
    leave_out: bool = ...,
    class_level: str | int | None = ...,
    unknown_label: str | None = ...,
    root: str | Path | None = ...,
    file_column: str | None = ...,
    label_column: str | None = ...,
    strip_prefix: str | None = ...,
    path_prefix: str | None = ...,
    path_suffix: str | None = ...,
    match_names: bool = ...,
    overwrite: bool = ...,
    shards: int | None = ...,
    shard: int | None = ...,
    executor: Literal["local", "ray", "slurm"],
    executor_options: str | Sequence[str] = ...,
    address: str | None = ...,
    progress: Progress | bool | None = None,
) -> PackResult | SubmittedResult: ...
@overload
def backbones(
    config: BackbonesConfig,
    /,
    *,
    progress: Progress | bool | None = None,
    **changes: Any,
) -> BackbonesResult: ...
@overload
def backbones(
    pattern: str | None = ...,
    *,
    limit: int | None = ...,
    measure: bool = ...,
    device: str = ...,
    plugins: str | Sequence[str] = ...,
    progress: Progress | bool | None = None,
) -> BackbonesResult: ...
@overload
def probe(config: ProbeConfig, /, *, progress: Progress | bool | None = None, **changes: Any) -> ProbeResult: ...
@overload
def probe(
    dataset: str | Path,
    *,
    backbones: str | Path | Sequence[str | Path] = ...,
    image_size: int | Sequence[int] | str | None = ...,
    most_images: int = ...,
    random_seed: int = ...,
    root: str | Path | None = ...,
    file_column: str | None = ...,
    label_column: str | None = ...,
    strip_prefix: str | None = ...,
    path_prefix: str | None = ...,
    path_suffix: str | None = ...,
    match_names: bool = ...,
    class_level: str | int | None = ...,
    unknown_label: str | None = ...,
    cache: str | Path | None = ...,
    out: str | Path | None = ...,
    batch_size: int = ...,
    workers: int = ...,
    device: str = ...,
    overwrite: bool = ...,
    plugins: str | Sequence[str] = ...,
    progress: Progress | bool | None = None,
) -> ProbeResult: ...
@overload
def init(config: InitConfig, /, *, progress: Progress | bool | None = None, **changes: Any) -> InitResult: ...
@overload
def init(
    dataset: str | Path,
    *,
    class_level: str | int | None = ...,
    unknown_label: str | None = ...,
    root: str | Path | None = ...,
    file_column: str | None = ...,
    label_column: str | None = ...,
    strip_prefix: str | None = ...,
    path_prefix: str | None = ...,
    path_suffix: str | None = ...,
    match_names: bool = ...,
    out: str | Path | None = ...,
    backbone: str | None = ...,
    weights: str = ...,
    task: Literal["open", "closed"] | None = ...,
    loss: Literal["cross_entropy", "contrastive_text"] = ...,
    image_size: int | Sequence[int] | str | None = ...,
    minutes: float | None = ...,
    overwrite: bool = ...,
    plugins: str | Sequence[str] = ...,
    progress: Progress | bool | None = None,
) -> InitResult: ...
@overload
def fill_cache(
    config: FillCacheConfig,
    /,
    *,
    progress: Progress | bool | None = None,
    **changes: Any,
) -> FillCacheResult: ...
@overload
def fill_cache(
    source: str | Path,
    *,
    overrides: str | Sequence[str] = ...,
    root: str | Path | None = ...,
    file_column: str | None = ...,
    label_column: str | None = ...,
    strip_prefix: str | None = ...,
    path_prefix: str | None = ...,
    path_suffix: str | None = ...,
    match_names: bool = ...,
    side: int | Sequence[int] | str | None = ...,
    format: Literal["raw", "jpeg"] | None = ...,
    quality: int | None = ...,
    interpolation: Literal["bilinear", "bicubic", "lanczos"] | None = ...,
    folder: str | Path | None = ...,
    check: bool = ...,
    prune: bool = ...,
    clear: bool = ...,
    shards: None = ...,
    shard: None = ...,
    executor: Literal["local", "ray"] | None = ...,
    executor_options: str | Sequence[str] = ...,
    address: str | None = ...,
    plugins: str | Sequence[str] = ...,
    progress: Progress | bool | None = None,
) -> FillCacheResult: ...
@overload
def fill_cache(
    source: str | Path,
    *,
    overrides: str | Sequence[str] = ...,
    root: str | Path | None = ...,
    file_column: str | None = ...,
    label_column: str | None = ...,
    strip_prefix: str | None = ...,
    path_prefix: str | None = ...,
    path_suffix: str | None = ...,
    match_names: bool = ...,
    side: int | Sequence[int] | str | None = ...,
    format: Literal["raw", "jpeg"] | None = ...,
    quality: int | None = ...,
    interpolation: Literal["bilinear", "bicubic", "lanczos"] | None = ...,
    folder: str | Path | None = ...,
    check: bool = ...,
    prune: bool = ...,
    clear: bool = ...,
    shards: int,
    shard: int | None = ...,
    executor: None = ...,
    executor_options: str | Sequence[str] = ...,
    address: str | None = ...,
    plugins: str | Sequence[str] = ...,
    progress: Progress | bool | None = None,
) -> ShardResult: ...
@overload
def fill_cache(
    source: str | Path,
    *,
    overrides: str | Sequence[str] = ...,
    root: str | Path | None = ...,
    file_column: str | None = ...,
    label_column: str | None = ...,
    strip_prefix: str | None = ...,
    path_prefix: str | None = ...,
    path_suffix: str | None = ...,
    match_names: bool = ...,
    side: int | Sequence[int] | str | None = ...,
    format: Literal["raw", "jpeg"] | None = ...,
    quality: int | None = ...,
    interpolation: Literal["bilinear", "bicubic", "lanczos"] | None = ...,
    folder: str | Path | None = ...,
    check: bool = ...,
    prune: bool = ...,
    clear: bool = ...,
    shards: int | None = ...,
    shard: int | None = ...,
    executor: Literal["local", "ray", "slurm"],
    executor_options: str | Sequence[str] = ...,
    address: str | None = ...,
    plugins: str | Sequence[str] = ...,
    progress: Progress | bool | None = None,
) -> FillCacheResult | SubmittedResult: ...
@overload
def train(config: TrainConfig, /, *, progress: Progress | bool | None = None, **changes: Any) -> Outcome: ...
@overload
def train(
    config: Any,
    *,
    overrides: str | Sequence[str] = ...,
    resume: bool = ...,
    accept_changes: bool = ...,
    overwrite: bool = ...,
    fold: None = ...,
    device: str | None = ...,
    dry_run: Literal[False] = ...,
    preview: Literal[False] = ...,
    out: str | Path | None = ...,
    upload_to: str | Path | None = ...,
    plugins: str | Sequence[str] = ...,
    progress: Progress | bool | None = None,
    **others: Any,
) -> TrainResult: ...
@overload
def train(
    config: Any,
    *,
    overrides: str | Sequence[str] = ...,
    resume: bool = ...,
    accept_changes: bool = ...,
    overwrite: bool = ...,
    fold: str | None = ...,
    device: str | None = ...,
    dry_run: bool = ...,
    preview: bool = ...,
    out: str | Path | None = ...,
    upload_to: str | Path | None = ...,
    plugins: str | Sequence[str] = ...,
    progress: Progress | bool | None = None,
    **others: Any,
) -> Outcome: ...
@overload
def sweep(config: SweepConfig, /, *, progress: Progress | bool | None = None, **changes: Any) -> SweepResult: ...
@overload
def sweep(
    config: str | Path,
    settings: str | Sequence[str] = ...,
    *,
    vary: str | Sequence[str] = ...,
    overrides: str | Sequence[str] = ...,
    out: str | Path | None = ...,
    stage: Literal["run", "features"] = ...,
    jobs: int = ...,
    against: Literal["first", "best"] = ...,
    csv: str | Path | None = ...,
    markdown: str | Path | None = ...,
    latex: str | Path | None = ...,
    plot: str | Path | None = ...,
    device: str | None = ...,
    overwrite: bool = ...,
    plugins: str | Sequence[str] = ...,
    progress: Progress | bool | None = None,
) -> SweepResult: ...
@overload
def plot(config: PlotConfig, /, *, progress: Progress | bool | None = None, **changes: Any) -> PlotResult: ...
@overload
def plot(
    runs: str | Path | Sequence[str | Path],
    *,
    metric: str = ...,
    out: str | Path | None = ...,
    overwrite: bool = ...,
    progress: Progress | bool | None = None,
) -> PlotResult: ...
@overload
def evaluate(
    config: EvaluateConfig,
    /,
    *,
    progress: Progress | bool | None = None,
    **changes: Any,
) -> EvaluateResult: ...
@overload
def evaluate(
    checkpoints: str | Path | Sequence[str | Path],
    *,
    data: str | Path | Sequence[str | Path] = ...,
    root: str | Path | None = ...,
    file_column: str | None = ...,
    label_column: str | None = ...,
    strip_prefix: str | None = ...,
    path_prefix: str | None = ...,
    path_suffix: str | None = ...,
    match_names: bool = ...,
    weights: str = ...,
    image_size: int | Sequence[int] | str | None = ...,
    precision: Literal["auto", "float32", "bfloat16"] = ...,
    tta: Literal["none", "flip", "crops"] | None = ...,
    fold: str | None = ...,
    leave_out_same: str | None = ...,
    within: str | None = ...,
    unknown_label: str | None = ...,
    against: str | Path | None = ...,
    gallery_model: str | Path | None = ...,
    queries: int | None = ...,
    recall_at: int | Sequence[int] = ...,
    slices: str | Sequence[str] = ...,
    pairs: str | Path | None = ...,
    verification: bool = ...,
    clustering: bool = ...,
    whiten: str | Path | None = ...,
    augment_database: int | None = ...,
    query_expansion: int | None = ...,
    rerank: int | None = ...,
    text_column: str | Sequence[str] = ...,
    template: str | Sequence[str] = ...,
    names: str | Path | None = ...,
    text_vectors: str | Path | None = ...,
    adapt_on: str | Path | None = ...,
    out: str | Path | None = ...,
    save_embeddings: bool = ...,
    report: bool = ...,
    map: Literal["pca", "tsne", "umap"] = ...,
    batch_size: int = ...,
    workers: int = ...,
    device: str = ...,
    shards: None = ...,
    shard: None = ...,
    executor: Literal["local", "ray"] | None = ...,
    executor_options: str | Sequence[str] = ...,
    address: str | None = ...,
    plugins: str | Sequence[str] = ...,
    progress: Progress | bool | None = None,
) -> EvaluateResult: ...
@overload
def evaluate(
    checkpoints: str | Path | Sequence[str | Path],
    *,
    data: str | Path | Sequence[str | Path] = ...,
    root: str | Path | None = ...,
    file_column: str | None = ...,
    label_column: str | None = ...,
    strip_prefix: str | None = ...,
    path_prefix: str | None = ...,
    path_suffix: str | None = ...,
    match_names: bool = ...,
    weights: str = ...,
    image_size: int | Sequence[int] | str | None = ...,
    precision: Literal["auto", "float32", "bfloat16"] = ...,
    tta: Literal["none", "flip", "crops"] | None = ...,
    fold: str | None = ...,
    leave_out_same: str | None = ...,
    within: str | None = ...,
    unknown_label: str | None = ...,
    against: str | Path | None = ...,
    gallery_model: str | Path | None = ...,
    queries: int | None = ...,
    recall_at: int | Sequence[int] = ...,
    slices: str | Sequence[str] = ...,
    pairs: str | Path | None = ...,
    verification: bool = ...,
    clustering: bool = ...,
    whiten: str | Path | None = ...,
    augment_database: int | None = ...,
    query_expansion: int | None = ...,
    rerank: int | None = ...,
    text_column: str | Sequence[str] = ...,
    template: str | Sequence[str] = ...,
    names: str | Path | None = ...,
    text_vectors: str | Path | None = ...,
    adapt_on: str | Path | None = ...,
    out: str | Path | None = ...,
    save_embeddings: bool = ...,
    report: bool = ...,
    map: Literal["pca", "tsne", "umap"] = ...,
    batch_size: int = ...,
    workers: int = ...,
    device: str = ...,
    shards: int,
    shard: int | None = ...,
    executor: None = ...,
    executor_options: str | Sequence[str] = ...,
    address: str | None = ...,
    plugins: str | Sequence[str] = ...,
    progress: Progress | bool | None = None,
) -> ShardResult: ...
@overload
def evaluate(
    checkpoints: str | Path | Sequence[str | Path],
    *,
    data: str | Path | Sequence[str | Path] = ...,
    root: str | Path | None = ...,
    file_column: str | None = ...,
    label_column: str | None = ...,
    strip_prefix: str | None = ...,
    path_prefix: str | None = ...,
    path_suffix: str | None = ...,
    match_names: bool = ...,
    weights: str = ...,
    image_size: int | Sequence[int] | str | None = ...,
    precision: Literal["auto", "float32", "bfloat16"] = ...,
    tta: Literal["none", "flip", "crops"] | None = ...,
    fold: str | None = ...,
    leave_out_same: str | None = ...,
    within: str | None = ...,
    unknown_label: str | None = ...,
    against: str | Path | None = ...,
    gallery_model: str | Path | None = ...,
    queries: int | None = ...,
    recall_at: int | Sequence[int] = ...,
    slices: str | Sequence[str] = ...,
    pairs: str | Path | None = ...,
    verification: bool = ...,
    clustering: bool = ...,
    whiten: str | Path | None = ...,
    augment_database: int | None = ...,
    query_expansion: int | None = ...,
    rerank: int | None = ...,
    text_column: str | Sequence[str] = ...,
    template: str | Sequence[str] = ...,
    names: str | Path | None = ...,
    text_vectors: str | Path | None = ...,
    adapt_on: str | Path | None = ...,
    out: str | Path | None = ...,
    save_embeddings: bool = ...,
    report: bool = ...,
    map: Literal["pca", "tsne", "umap"] = ...,
    batch_size: int = ...,
    workers: int = ...,
    device: str = ...,
    shards: int | None = ...,
    shard: int | None = ...,
    executor: Literal["local", "ray", "slurm"],
    executor_options: str | Sequence[str] = ...,
    address: str | None = ...,
    plugins: str | Sequence[str] = ...,
    progress: Progress | bool | None = None,
) -> EvaluateResult | SubmittedResult: ...
@overload
def calibrate(
    config: CalibrateConfig,
    /,
    *,
    progress: Progress | bool | None = None,
    **changes: Any,
) -> CalibrateResult: ...
@overload
def calibrate(
    checkpoint: str | Path,
    *,
    data: str | Path | None = ...,
    from_folds: str | Path | None = ...,
    far: float | None = ...,
    pair_far: float | None = ...,
    precision: float | None = ...,
    strict: bool = ...,
    unknown_share: float = ...,
    root: str | Path | None = ...,
    file_column: str | None = ...,
    label_column: str | None = ...,
    strip_prefix: str | None = ...,
    path_prefix: str | None = ...,
    path_suffix: str | None = ...,
    match_names: bool = ...,
    leave_out_same: str | None = ...,
    within: str | None = ...,
    unknown_label: str | None = ...,
    plot: str | Path | None = ...,
    embed_precision: Literal["auto", "float32", "bfloat16"] = ...,
    tta: Literal["none", "flip", "crops"] | None = ...,
    random_seed: int = ...,
    batch_size: int = ...,
    workers: int = ...,
    device: str = ...,
    overwrite: bool = ...,
    plugins: str | Sequence[str] = ...,
    progress: Progress | bool | None = None,
) -> CalibrateResult: ...
@overload
def compress(
    config: CompressConfig,
    /,
    *,
    progress: Progress | bool | None = None,
    **changes: Any,
) -> CompressResult: ...
@overload
def compress(
    checkpoint: str | Path,
    *,
    data: str | Path,
    fit: str | Path | None = ...,
    sizes: int | Sequence[int] = ...,
    keep: str | None = ...,
    most_loss: float = ...,
    out: str | Path | None = ...,
    plot: str | Path | None = ...,
    show_all: bool = ...,
    root: str | Path | None = ...,
    file_column: str | None = ...,
    label_column: str | None = ...,
    strip_prefix: str | None = ...,
    path_prefix: str | None = ...,
    path_suffix: str | None = ...,
    match_names: bool = ...,
    leave_out_same: str | None = ...,
    within: str | None = ...,
    unknown_label: str | None = ...,
    batch_size: int = ...,
    workers: int = ...,
    device: str = ...,
    overwrite: bool = ...,
    plugins: str | Sequence[str] = ...,
    progress: Progress | bool | None = None,
) -> CompressResult: ...
@overload
def ensemble(
    config: EnsembleConfig,
    /,
    *,
    progress: Progress | bool | None = None,
    **changes: Any,
) -> EnsembleResult: ...
@overload
def ensemble(
    checkpoints: str | Path | Sequence[str | Path],
    *,
    out: str | Path,
    by: Literal["embeddings", "weights", "greedy"] = ...,
    data: str | Path | None = ...,
    root: str | Path | None = ...,
    file_column: str | None = ...,
    label_column: str | None = ...,
    strip_prefix: str | None = ...,
    path_prefix: str | None = ...,
    path_suffix: str | None = ...,
    match_names: bool = ...,
    batch_size: int = ...,
    workers: int = ...,
    device: str = ...,
    overwrite: bool = ...,
    plugins: str | Sequence[str] = ...,
    progress: Progress | bool | None = None,
) -> EnsembleResult: ...
@overload
def embed(config: EmbedConfig, /, *, progress: Progress | bool | None = None, **changes: Any) -> EmbedResult: ...
@overload
def embed(
    checkpoint: str,
    images: str | Path | Sequence[str | Path],
    *,
    out: str | Path,
    root: str | Path | None = ...,
    file_column: str | None = ...,
    label_column: str | None = ...,
    strip_prefix: str | None = ...,
    path_prefix: str | None = ...,
    path_suffix: str | None = ...,
    match_names: bool = ...,
    class_level: str | int | None = ...,
    weights: str = ...,
    image_size: int | Sequence[int] | str | None = ...,
    precision: Literal["auto", "float32", "bfloat16"] = ...,
    tta: Literal["none", "flip", "crops"] | None = ...,
    fold: str | None = ...,
    batch_size: int = ...,
    workers: int | None = ...,
    device: str = ...,
    overwrite: bool = ...,
    upload_to: str | Path | None = ...,
    shards: None = ...,
    shard: None = ...,
    executor: Literal["local", "ray"] | None = ...,
    executor_options: str | Sequence[str] = ...,
    address: str | None = ...,
    plugins: str | Sequence[str] = ...,
    progress: Progress | bool | None = None,
) -> EmbedResult: ...
@overload
def embed(
    checkpoint: str,
    images: str | Path | Sequence[str | Path],
    *,
    out: str | Path,
    root: str | Path | None = ...,
    file_column: str | None = ...,
    label_column: str | None = ...,
    strip_prefix: str | None = ...,
    path_prefix: str | None = ...,
    path_suffix: str | None = ...,
    match_names: bool = ...,
    class_level: str | int | None = ...,
    weights: str = ...,
    image_size: int | Sequence[int] | str | None = ...,
    precision: Literal["auto", "float32", "bfloat16"] = ...,
    tta: Literal["none", "flip", "crops"] | None = ...,
    fold: str | None = ...,
    batch_size: int = ...,
    workers: int | None = ...,
    device: str = ...,
    overwrite: bool = ...,
    upload_to: str | Path | None = ...,
    shards: int,
    shard: int | None = ...,
    executor: None = ...,
    executor_options: str | Sequence[str] = ...,
    address: str | None = ...,
    plugins: str | Sequence[str] = ...,
    progress: Progress | bool | None = None,
) -> ShardResult: ...
@overload
def embed(
    checkpoint: str,
    images: str | Path | Sequence[str | Path],
    *,
    out: str | Path,
    root: str | Path | None = ...,
    file_column: str | None = ...,
    label_column: str | None = ...,
    strip_prefix: str | None = ...,
    path_prefix: str | None = ...,
    path_suffix: str | None = ...,
    match_names: bool = ...,
    class_level: str | int | None = ...,
    weights: str = ...,
    image_size: int | Sequence[int] | str | None = ...,
    precision: Literal["auto", "float32", "bfloat16"] = ...,
    tta: Literal["none", "flip", "crops"] | None = ...,
    fold: str | None = ...,
    batch_size: int = ...,
    workers: int | None = ...,
    device: str = ...,
    overwrite: bool = ...,
    upload_to: str | Path | None = ...,
    shards: int | None = ...,
    shard: int | None = ...,
    executor: Literal["local", "ray", "slurm"],
    executor_options: str | Sequence[str] = ...,
    address: str | None = ...,
    plugins: str | Sequence[str] = ...,
    progress: Progress | bool | None = None,
) -> EmbedResult | SubmittedResult: ...
@overload
def text(config: TextConfig, /, *, progress: Progress | bool | None = None, **changes: Any) -> TextResult: ...
@overload
def text(
    dataset: str | Path,
    *,
    encoder: str,
    column: str | None = ...,
    template: str | Sequence[str] = ...,
    names: str | Path | None = ...,
    unknown_label: str | None = ...,
    root: str | Path | None = ...,
    file_column: str | None = ...,
    label_column: str | None = ...,
    strip_prefix: str | None = ...,
    path_prefix: str | None = ...,
    path_suffix: str | None = ...,
    match_names: bool = ...,
    device: str = ...,
    out: str | Path | None = ...,
    overwrite: bool = ...,
    plugins: str | Sequence[str] = ...,
    progress: Progress | bool | None = None,
) -> TextResult: ...
@overload
def merge_shards(
    config: MergeShardsConfig,
    /,
    *,
    progress: Progress | bool | None = None,
    **changes: Any,
) -> MergeShardsResult: ...
@overload
def merge_shards(
    outs: str | Path | Sequence[str | Path],
    *,
    overwrite: bool = ...,
    remove: bool = ...,
    progress: Progress | bool | None = None,
) -> MergeShardsResult: ...
@overload
def export(config: ExportConfig, /, *, progress: Progress | bool | None = None, **changes: Any) -> ExportResult: ...
@overload
def export(
    checkpoint: str,
    out: str | Path,
    *,
    format: str | None = ...,
    input: Literal["uint8", "float"] = ...,
    precision: Literal["float32", "float16", "int8"] = ...,
    opset: int = ...,
    weights: str = ...,
    image_size: int | Sequence[int] | str | None = ...,
    tta: Literal["none", "flip", "crops"] | None = ...,
    licence: str | None = ...,
    calibrate_on: str | Path | None = ...,
    prove_on: str | Path | None = ...,
    prove_images: int = ...,
    least_cosine: float | None = ...,
    most_loss: float = ...,
    triton: bool = ...,
    overwrite: bool = ...,
    upload_to: str | Path | None = ...,
    plugins: str | Sequence[str] = ...,
    progress: Progress | bool | None = None,
) -> ExportResult: ...
@overload
def push(config: PushConfig, /, *, progress: Progress | bool | None = None, **changes: Any) -> PushResult: ...
@overload
def push(
    folder: str | Path,
    repository: str,
    *,
    public: bool = ...,
    message: str | None = ...,
    dry_run: bool = ...,
    progress: Progress | bool | None = None,
) -> PushResult: ...
@overload
def upload(config: UploadConfig, /, *, progress: Progress | bool | None = None, **changes: Any) -> UploadResult: ...
@overload
def upload(
    sources: str | Path | Sequence[str | Path],
    *,
    to: str | Path,
    overwrite: bool = ...,
    progress: Progress | bool | None = None,
) -> UploadResult: ...
@overload
def suspects(
    config: SuspectsConfig,
    /,
    *,
    progress: Progress | bool | None = None,
    **changes: Any,
) -> SuspectsResult: ...
@overload
def suspects(
    source: str | Path,
    *,
    unknown_label: str | None = ...,
    min_score: float = ...,
    top: int = ...,
    root: str | Path | None = ...,
    one_network: bool = ...,
    device: str = ...,
    out: str | Path | None = ...,
    overwrite: bool = ...,
    plugins: str | Sequence[str] = ...,
    progress: Progress | bool | None = None,
) -> SuspectsResult: ...
@overload
def build_index(
    config: BuildIndexConfig,
    /,
    *,
    progress: Progress | bool | None = None,
    **changes: Any,
) -> BuildIndexResult: ...
@overload
def build_index(
    index: str | Path,
    checkpoint: str,
    images: str | Path | Sequence[str | Path],
    *,
    label: str | None = ...,
    with_model: bool = ...,
    duplicates: Literal["skip", "keep"] = ...,
    storage: Literal["float32", "float16"] = ...,
    root: str | Path | None = ...,
    class_level: str | int | None = ...,
    file_column: str | None = ...,
    label_column: str | None = ...,
    strip_prefix: str | None = ...,
    path_prefix: str | None = ...,
    path_suffix: str | None = ...,
    match_names: bool = ...,
    weights: str = ...,
    image_size: int | Sequence[int] | str | None = ...,
    precision: Literal["auto", "float32", "bfloat16"] = ...,
    tta: Literal["none", "flip", "crops"] | None = ...,
    fold: str | None = ...,
    batch_size: int = ...,
    workers: int = ...,
    device: str = ...,
    overwrite: bool = ...,
    upload_to: str | Path | None = ...,
    plugins: str | Sequence[str] = ...,
    progress: Progress | bool | None = None,
) -> BuildIndexResult: ...
@overload
def add_to_index(
    config: AddToIndexConfig,
    /,
    *,
    progress: Progress | bool | None = None,
    **changes: Any,
) -> AddToIndexResult: ...
@overload
def add_to_index(
    index: str | Path,
    images: str | Path | Sequence[str | Path],
    *,
    label: str | None = ...,
    duplicates: Literal["skip", "keep"] = ...,
    model: str | Path | None = ...,
    root: str | Path | None = ...,
    class_level: str | int | None = ...,
    file_column: str | None = ...,
    label_column: str | None = ...,
    strip_prefix: str | None = ...,
    path_prefix: str | None = ...,
    path_suffix: str | None = ...,
    match_names: bool = ...,
    batch_size: int = ...,
    workers: int = ...,
    device: str = ...,
    plugins: str | Sequence[str] = ...,
    progress: Progress | bool | None = None,
) -> AddToIndexResult: ...
@overload
def remove_from_index(
    config: RemoveFromIndexConfig,
    /,
    *,
    progress: Progress | bool | None = None,
    **changes: Any,
) -> RemoveResult: ...
@overload
def remove_from_index(
    index: str | Path,
    *,
    labels: str | Sequence[str] = ...,
    file_names: str | Sequence[str] = ...,
    ids: int | Sequence[int] = ...,
    progress: Progress | bool | None = None,
) -> RemoveResult: ...
@overload
def index_info(
    config: IndexInfoConfig,
    /,
    *,
    progress: Progress | bool | None = None,
    **changes: Any,
) -> IndexInfoResult: ...
@overload
def index_info(
    index: str | Path,
    *,
    measure: bool = ...,
    drift: str | Path | Sequence[str | Path] = ...,
    model: str | Path | None = ...,
    batch_size: int = ...,
    workers: int = ...,
    device: str = ...,
    progress: Progress | bool | None = None,
) -> IndexInfoResult: ...
@overload
def verify_index(
    config: VerifyIndexConfig,
    /,
    *,
    progress: Progress | bool | None = None,
    **changes: Any,
) -> VerifyResult: ...
@overload
def verify_index(index: str | Path, *, repair: bool = ..., progress: Progress | bool | None = None) -> VerifyResult: ...
@overload
def compact_index(
    config: CompactIndexConfig,
    /,
    *,
    progress: Progress | bool | None = None,
    **changes: Any,
) -> CompactResult: ...
@overload
def compact_index(index: str | Path, *, progress: Progress | bool | None = None) -> CompactResult: ...
@overload
def calibrate_index(
    config: CalibrateIndexConfig,
    /,
    *,
    progress: Progress | bool | None = None,
    **changes: Any,
) -> CalibrateIndexResult: ...
@overload
def calibrate_index(
    index: str | Path,
    checkpoint: str | Path | None = ...,
    *,
    device: str = ...,
    progress: Progress | bool | None = None,
) -> CalibrateIndexResult: ...
@overload
def export_index(
    config: ExportIndexConfig,
    /,
    *,
    progress: Progress | bool | None = None,
    **changes: Any,
) -> ExportIndexResult: ...
@overload
def export_index(
    index: str | Path,
    out: str | Path,
    *,
    where: str | None = ...,
    overwrite: bool = ...,
    progress: Progress | bool | None = None,
) -> ExportIndexResult: ...
@overload
def search(config: SearchConfig, /, *, progress: Progress | bool | None = None, **changes: Any) -> SearchResult: ...
@overload
def search(
    index: str | Path,
    images: str | Path | Sequence[str | Path] = ...,
    *,
    text: str | Sequence[str] = ...,
    k: int = ...,
    per_class: bool = ...,
    where: str | None = ...,
    engine: Literal["exact", "usearch", "faiss"] = ...,
    query_expansion: int | None = ...,
    csv: str | Path | None = ...,
    html: str | Path | None = ...,
    thumbnails: bool = ...,
    model: str | Path | None = ...,
    root: str | Path | None = ...,
    file_column: str | None = ...,
    label_column: str | None = ...,
    strip_prefix: str | None = ...,
    path_prefix: str | None = ...,
    path_suffix: str | None = ...,
    match_names: bool = ...,
    batch_size: int = ...,
    workers: int = ...,
    device: str = ...,
    overwrite: bool = ...,
    plugins: str | Sequence[str] = ...,
    progress: Progress | bool | None = None,
) -> SearchResult: ...
@overload
def classify(
    config: ClassifyConfig,
    /,
    *,
    progress: Progress | bool | None = None,
    **changes: Any,
) -> ClassifyResult: ...
@overload
def classify(
    index: str | Path,
    images: str | Path | Sequence[str | Path],
    *,
    names: str | Path | None = ...,
    template: str | Sequence[str] = ...,
    out: str | Path | None = ...,
    html: str | Path | None = ...,
    truth: str | None = ...,
    unknown_share: float | None = ...,
    move: str | Path | None = ...,
    copy_to: str | Path | None = ...,
    model: str | Path | None = ...,
    weights: str = ...,
    image_size: int | Sequence[int] | str | None = ...,
    precision: Literal["auto", "float32", "bfloat16"] = ...,
    root: str | Path | None = ...,
    class_level: str | int | None = ...,
    file_column: str | None = ...,
    label_column: str | None = ...,
    strip_prefix: str | None = ...,
    path_prefix: str | None = ...,
    path_suffix: str | None = ...,
    match_names: bool = ...,
    batch_size: int = ...,
    workers: int = ...,
    device: str = ...,
    overwrite: bool = ...,
    plugins: str | Sequence[str] = ...,
    progress: Progress | bool | None = None,
) -> ClassifyResult: ...
@overload
def add_serve_key(
    config: AddServeKeyConfig,
    /,
    *,
    progress: Progress | bool | None = None,
    **changes: Any,
) -> AddServeKeyResult: ...
@overload
def add_serve_key(
    file: str | Path,
    name: str,
    *,
    scope: Literal["read", "write"] = ...,
    rate: float | None = ...,
    progress: Progress | bool | None = None,
) -> AddServeKeyResult: ...
@overload
def list_serve_keys(
    config: ListServeKeysConfig,
    /,
    *,
    progress: Progress | bool | None = None,
    **changes: Any,
) -> ServeKeysResult: ...
@overload
def list_serve_keys(file: str | Path, *, progress: Progress | bool | None = None) -> ServeKeysResult: ...
@overload
def remove_serve_key(
    config: RemoveServeKeyConfig,
    /,
    *,
    progress: Progress | bool | None = None,
    **changes: Any,
) -> RemoveServeKeyResult: ...
@overload
def remove_serve_key(
    file: str | Path,
    name: str,
    *,
    progress: Progress | bool | None = None,
) -> RemoveServeKeyResult: ...
@overload
def serve(config: ServeConfig, /, *, progress: Progress | bool | None = None, **changes: Any) -> ServeResult: ...
@overload
def serve(
    source: str,
    *,
    host: str = ...,
    port: int = ...,
    keys: str | Path | None = ...,
    allow_urls: str | Sequence[str] = ...,
    cors: str | Sequence[str] = ...,
    model: str | Path | None = ...,
    weights: str = ...,
    image_size: int | Sequence[int] | str | None = ...,
    precision: Literal["auto", "float32", "bfloat16"] = ...,
    runtime: Literal["auto", "onnx", "torch"] = ...,
    page: bool = ...,
    docs: bool = ...,
    batch: int | None = ...,
    wait_ms: float = ...,
    address_rate: float | None = ...,
    queue: int = ...,
    items: int = ...,
    seconds: float = ...,
    body_mb: float = ...,
    image_mb: float = ...,
    megapixels: float = ...,
    device: str = ...,
    plugins: str | Sequence[str] = ...,
    progress: Progress | bool | None = None,
) -> ServeResult: ...
@overload
def demo(config: DemoConfig, /, *, progress: Progress | bool | None = None, **changes: Any) -> DemoResult: ...
@overload
def demo(folder: str | Path, *, overwrite: bool = ..., progress: Progress | bool | None = None) -> DemoResult: ...
@overload
def list_margins(
    config: MarginsConfig,
    /,
    *,
    progress: Progress | bool | None = None,
    **changes: Any,
) -> MarginsResult: ...
@overload
def list_margins(
    name: str | None = ...,
    *,
    plugins: str | Sequence[str] = ...,
    progress: Progress | bool | None = None,
) -> MarginsResult: ...
@overload
def doctor(config: DoctorConfig, /, *, progress: Progress | bool | None = None, **changes: Any) -> DoctorResult: ...
@overload
def doctor(*, hub: bool = ..., progress: Progress | bool | None = None) -> DoctorResult: ...
