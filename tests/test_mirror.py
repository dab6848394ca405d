"""`tests/ROOM/test_NAME.py` tests the module `eml/ROOM/NAME.py`, or the whole folder `eml/ROOM/NAME`."""

from pathlib import Path

import eml

PACKAGE = Path(eml.__file__).parent
TESTS = Path(__file__).parent

# Test files of several modules: whole commands as typed (tests/cli), whole families, steps in a row, real data.
OF_SEVERAL_MODULES = {
    "benchmarks",
    "cli",
    "commands/test_killed",
    "commands/test_stale_tables",
    "dataset/duplicates/test_duplicates_real",
    "dataset/scanning/test_scan_real",
    "dataset/splits/test_leaks_real",
    "dataset/test_error_codes",
    "dataset/test_round_trip",
    "dataset/test_v0_1_0",
    "docs",
    "exporting/hub/test_environments",
    "exporting/test_families",
    "fuzz",
    "indexing/test_index_kills",
    "indexing/test_writers_at_once",
    "inference/test_v0_1_0",
    "margins/test_formulas",
    "margins/test_golden",
    "margins/test_properties",
    "packaging",
    "retrieval/test_peers",
    "training/stages/test_never_harm",
    "training/test_kills",
}

# Modules, or folders of them, without a test file of their own, and the one that tests them.
TESTED_THROUGH = {
    "cli/adapter": "commands/test_base",
    "cli/completing/completions": "cli/completing/test_shells",
    "cli/completing/config_keys": "cli/completing/test_complete",
    "cli/completing/situation": "cli/completing/test_complete",
    "cli/display": "cli/test_output",
    "cli/exit_codes": "cli/test_app",
    "cli/groups": "cli/test_index_commands",
    "cli/help_page": "cli/test_help",
    "cli/launching": "cli/test_way",
    "commands/classify": "cli/test_index_commands",
    "commands/grouping": "cli/test_leaks",
    "commands/index_add": "cli/test_index_commands",
    "commands/index_build": "cli/test_index_commands",
    "commands/index_calibrate": "cli/test_index_commands",
    "commands/index_compact": "cli/test_index_commands",
    "commands/index_export": "cli/test_index_commands",
    "commands/index_info": "cli/test_index_commands",
    "commands/index_remove": "cli/test_index_commands",
    "commands/index_verify": "cli/test_index_commands",
    "commands/indexing": "cli/test_index_commands",
    "commands/init_folds": "commands/test_init",
    "commands/next_steps": "cli/test_next_commands",
    "commands/search": "cli/test_index_commands",
    "commands/suspects": "cli/test_clean",
    "config/loading": "config/test_overrides",
    "config/locations": "config/test_yaml_reader",
    "config/text": "config/test_error_messages",
    "models/needed_plugins": "docs/test_plugins",
    "config/plugin_source": "config/test_plugins",
    "config/registries": "config/test_plugins",
    "config/type_info": "config/test_error_messages",
    "commands/with_plugins": "docs/test_plugins",
    "exporting/formats/base": "exporting/formats/test_onnx",
    "exporting/formats/torchscript": "exporting/formats/test_torch",
    "exporting/onnx_file": "exporting/formats/test_onnx",
    "exporting/precision/ranges": "exporting/precision/test_int8",
    "inference/exported/loading": "inference/test_any_model",
    "inference/exported/model": "exporting/formats/test_onnx",
    "inference/exported/names": "inference/test_any_model",
    "exporting/texts/graph": "exporting/texts/test_tower",
    "exporting/texts/samples": "exporting/texts/test_proof",
    "inference/exported/text_facts": "exporting/texts/test_tower",
    "inference/exported/texts": "exporting/texts/test_tower",
    "inference/text_inputs": "models/test_text_tower",
    "inference/exported/openvino_xml": "exporting/formats/test_openvino",
    "inference/exported/torch_archive": "exporting/formats/test_torch",
    "inference/exported/runtimes": "exporting/formats/test_onnx",
    "dataset/duplicates/components": "dataset/duplicates/test_duplicates",
    "dataset/duplicates/dedup": "dataset/test_filter",
    "dataset/duplicates/hamming": "dataset/duplicates/test_duplicates",
    "dataset/duplicates/label_conflicts": "dataset/duplicates/test_verify_pairs",
    "dataset/duplicates/same_images": "dataset/test_filter",
    "dataset/merged_labels": "dataset/test_merge",
    "dataset/packing/shard_files": "dataset/packing/test_pack",
    "dataset/problems": "dataset/test_error_codes",
    "dataset/protocol_notes": "commands/test_protocol",
    "dataset/scan_settings": "dataset/scanning/test_class_level",
    "dataset/scanning/file_problem": "dataset/scanning/test_listing",
    "dataset/scanning/records": "dataset/scanning/test_scan_cache",
    "dataset/scanning/workers": "dataset/scanning/test_scan",
    "dataset/table_files": "dataset/test_table",
    "dataset/table_names": "dataset/test_table",
    "distributed/heartbeat": "distributed/test_processes",
    "evaluation/analysis": "reports/test_evaluation",
    "evaluation/calibration": "cli/test_calibrate",
    "evaluation/checkpoint_label": "training/test_data",
    "evaluation/class_changes": "reports/test_evaluation",
    "evaluation/compress": "commands/test_compress",
    "evaluation/ensemble": "commands/test_ensemble",
    "evaluation/evaluate": "evaluation/test_comparison",
    "evaluation/gallery_calibration": "cli/test_calibrate",
    "evaluation/leaderboard": "evaluation/test_runs",
    "evaluation/official_protocol": "commands/test_protocol",
    "evaluation/options": "evaluation/test_runs",
    "evaluation/outputs": "cli/test_evaluate",
    "evaluation/retrieval_set": "cli/test_evaluate",
    "evaluation/shown": "commands/test_evaluate",
    "evaluation/whitening": "evaluation/test_postprocessing",
    "exporting/hub/candidate": "exporting/hub/test_folder",
    "exporting/hub/parts": "exporting/hub/test_folder",
    "exporting/hub/seal": "exporting/hub/test_push",
    "commands/push": "exporting/hub/test_push",
    "exporting/proof/checks": "exporting/proof/test_outcome",
    "exporting/proof/record": "exporting/proof/test_prove",
    "head/active_classes": "head/test_sampled_rows",
    "head/checks": "head/test_class_head",
    "head/margin_state": "margins/test_properties",
    "head/inits": "training/stages/test_class_starts",
    "head/memory": "margins/test_golden",
    "head/modes": "head/test_plan",
    "head/negatives": "head/test_tiled",
    "head/reduction": "head/test_class_head",
    "head/row_optimizers": "head/test_sampled_rows",
    "head/text_terms": "head/test_text_rows",
    "images/crop": "images/test_loading",
    "images/icons": "images/test_memory",
    "images/identify": "images/test_decode",
    "images/loading_team": "images/test_loading_workers",
    "images/opening": "images/test_decode",
    "images/packed/columns": "images/packed/test_parquet_file",
    "images/packed/contents": "images/packed/test_members",
    "images/random": "images/test_loading",
    "images/source": "images/test_loading",
    "indexing/adding": "indexing/test_index",
    "indexing/answers": "indexing/test_index",
    "indexing/calibrating": "cli/test_index_commands",
    "indexing/changes": "indexing/test_store",
    "indexing/class_counts": "indexing/test_index",
    "indexing/classify": "indexing/test_index",
    "indexing/creating": "indexing/test_index",
    "indexing/database": "indexing/test_store",
    "indexing/embedding_rows": "indexing/test_store",
    "indexing/engines": "indexing/test_graphs",
    "indexing/exporting": "cli/test_index_commands",
    "indexing/facts": "cli/test_index_commands",
    "indexing/fingerprints": "indexing/test_store",
    "indexing/image_rows": "indexing/test_store",
    "indexing/index_reader": "indexing/test_store",
    "indexing/model_record": "indexing/test_index",
    "indexing/notebook": "indexing/test_index",
    "indexing/queries": "indexing/test_index",
    "indexing/reading": "indexing/test_store",
    "indexing/rows": "indexing/test_index",
    "indexing/searching": "indexing/test_index",
    "indexing/segment_files": "indexing/test_store",
    "indexing/state": "indexing/test_store",
    "indexing/store_info": "indexing/test_store",
    "indexing/stored_calibration": "cli/test_index_commands",
    "indexing/view": "indexing/test_store",
    "indexing/view_loader": "indexing/test_store",
    "indexing/view_search": "indexing/test_store",
    "indexing/where_tokens": "indexing/test_where",
    "inference/images": "inference/test_embed",
    "head/triton_kernels": "head/test_fused",
    "losses/base": "margins/test_properties",
    "margins": "margins/test_properties",
    "models/calibration": "cli/test_calibrate",
    "models/calibration_images": "cli/test_calibrate",
    "models/config": "models/test_checkpoint",
    "models/definitions": "models/test_open_clip_network",
    "models/device": "training/test_checks",
    "models/views": "inference/test_model",
    "models/necks": "models/test_embedder",
    "models/tuning": "models/test_adapters",
    "models/pointers": "models/test_checkpoint",
    "models/pooling": "models/test_embedder",
    "models/weights_digest": "models/test_fingerprint",
    "progress": "dataset/scanning/test_scan",
    "reports/answer_thumbnails": "cli/test_index_commands",
    "reports/calibration": "cli/test_calibrate",
    "reports/classify": "cli/test_index_commands",
    "reports/compression": "commands/test_compress",
    "reports/curves": "cli/test_plot",
    "reports/export": "exporting/proof/test_outcome",
    "reports/rendering": "reports/test_data",
    "reports/run_logs": "cli/test_plot",
    "reports/search": "cli/test_index_commands",
    "reports/suspects": "cli/test_clean",
    "reports/sweep": "commands/test_sweep",
    "retrieval/added_scores": "retrieval/reranking/test_k_reciprocal",
    "retrieval/affine": "retrieval/test_within_class",
    "retrieval/array_types": "retrieval/test_search",
    "retrieval/arrays": "retrieval/test_search",
    "retrieval/class_scores": "retrieval/test_class_answers",
    "retrieval/class_tiles": "retrieval/test_class_answers",
    "retrieval/confidence": "retrieval/statistics/test_jackknife",
    "retrieval/label_errors/label_votes": "retrieval/label_errors/test_label_errors",
    "retrieval/label_errors/suspect_classes": "retrieval/label_errors/test_label_errors",
    "retrieval/label_errors/suspects": "cli/test_clean",
    "retrieval/log_odds": "retrieval/test_answers",
    "retrieval/positive_counts": "retrieval/test_metrics",
    "retrieval/ranking": "retrieval/test_metrics",
    "retrieval/reranking/weighted_means": "retrieval/reranking/test_query_expansion",
    "retrieval/statistics/interval": "retrieval/statistics/test_jackknife",
    "retrieval/statistics/summary_intervals": "retrieval/statistics/test_jackknife",
    "commands/zero_shot": "indexing/test_zero_shot",
    "serving/answers": "serving/test_engine",
    "serving/checks": "serving/test_engine",
    "serving/decoding": "serving/test_engine",
    "serving/limits": "serving/test_engine",
    "serving/served_index": "serving/test_engine",
    "serving/work_threads": "serving/test_batching",
    "texts/encoders/base": "texts/test_embed_texts",
    "texts/encoders/checkpoint": "texts/encoders/test_open_clip",
    "texts/encoders/_towers": "texts/encoders/test_open_clip",
    "texts/templates": "texts/test_class_texts",
    "texts/own_tower": "texts/test_embed_texts",
    "texts/vector_cache": "texts/test_embed_texts",
    "threads": "dataset/duplicates/test_duplicates",
    "retrieval/verification/acceptance": "retrieval/verification/test_open_set",
    "retrieval/verification/pooled": "training/test_fold_calibration",
    "training/stages/views": "training/stages/test_staging",
    "training/stages/choosing": "training/stages/test_staging",
    "training/stages/closed_form": "training/stages/test_staging",
    "training/stages/features": "training/stages/test_staging",
    "training/stages/networks": "training/stages/test_staging",
    "training/stages/outcomes": "training/stages/test_staging",
    "training/text_validation": "training/test_text_weights",
    "training/config_changes": "training/test_run_state",
    "training/data_parallel": "distributed/test_processes",
    "training/distributed_state": "distributed/test_processes",
    "training/events": "training/test_fit",
    "training/facts": "training/test_dry_run",
    "training/out_of_fold": "cli/test_clean",
    "training/process_checks": "distributed/test_processes",
    "training/results": "training/test_fit",
    "training/state": "training/test_run_state",
    "training/stop_signals": "cli/test_way",
    "units": "images/test_cache",
    "imported": "inference/test_image_inputs",
}


def stems(folder: Path, pattern: str) -> set[str]:
    return {path.relative_to(folder).with_suffix("").as_posix() for path in folder.rglob(pattern)}


MODULES = {name for name in stems(PACKAGE, "*.py") if not name.endswith("__")}
TEST_FILES = stems(TESTS, "test_*.py")


def and_folders(name: str) -> list[str]:
    """Return `a/b/c`, `a/b` and `a` of `a/b/c`."""
    return [name, *(str(folder) for folder in Path(name).parents[:-1])]


def own_test_file(name: str) -> str:
    """Return the name that the test file of a module or a folder has."""
    return str(Path(name).with_name(f"test_{Path(name).name}"))


def test_every_test_file_of_a_room_is_named_after_its_module() -> None:
    targets = {own_test_file(part) for name in MODULES for part in and_folders(name)}
    in_rooms = {name for name in TEST_FILES if "/" in name}
    astray = {name for name in in_rooms - targets if not OF_SEVERAL_MODULES.intersection(and_folders(name))}
    assert not astray, f"rename them after a module of eml, or name them in OF_SEVERAL_MODULES: {sorted(astray)}"


def test_every_module_has_a_test_file_or_names_the_one_that_tests_it() -> None:
    untested = {
        name
        for name in MODULES
        if not any(own_test_file(part) in TEST_FILES or part in TESTED_THROUGH for part in and_folders(name))
    }
    assert not untested, f"give them a test file, or name one in TESTED_THROUGH: {sorted(untested)}"


def test_the_exceptions_are_needed_and_exist() -> None:
    folders = {part for name in MODULES for part in and_folders(name)}
    assert set(TESTED_THROUGH) <= folders
    assert set(TESTED_THROUGH.values()) <= TEST_FILES
    assert not {name for name in TESTED_THROUGH if own_test_file(name) in TEST_FILES}
    assert {part for name in TEST_FILES for part in and_folders(name)} >= OF_SEVERAL_MODULES
