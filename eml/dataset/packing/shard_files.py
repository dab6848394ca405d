"""One packed file: its images as they are, with labels and columns; the same bytes for the same input."""

import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from eml.dataset.packing.plan import IMAGE, PackPlan
from eml.units import MIB

_GROUP_ROWS, _GROUP_BYTES = 500, 16 * MIB
"""Most rows and bytes of images in a row group of Parquet. eml reads an image alone; others read a group."""
_PAGE_ROWS = 16  # rows after which a page of Parquet may end
_RECORD = 20 * 512  # bytes; a tar file is a whole number of records

Images = Iterator[tuple[int, bytes]]
"""The number of an image in the plan, and its bytes."""


def write_tar(plan: PackPlan, images: Images, path: Path) -> None:
    """Write a shard of webdataset: KEY.SUFFIX, KEY.cls (the number of the class) and KEY.json (label and columns)."""
    number_of = {label: number for number, label in enumerate(plan.classes)}
    rows = plan.columns.to_dict(orient="index")
    with path.open("wb") as file:
        for number, data in images:
            key = plan.keys[number]
            sample = key.rpartition(".")[0]
            facts = {str(name): _plain(value) for name, value in rows[number].items()}
            facts = {name: value for name, value in facts.items() if value is not None}
            _add(file, key, data)
            if facts.get("label") in number_of:
                _add(file, f"{sample}.cls", str(number_of[facts["label"]]).encode())
            _add(file, f"{sample}.json", json.dumps(facts, ensure_ascii=False).encode())
        file.write(bytes(2 * 512))
        file.write(bytes(-file.tell() % _RECORD))


def _add(file: IO[bytes], name: str, data: bytes) -> None:
    """Write a member with neither time nor owner."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    file.write(member.tobuf(tarfile.PAX_FORMAT))
    file.write(data)
    file.write(bytes(-len(data) % 512))


def write_parquet(plan: PackPlan, images: Images, path: Path) -> None:
    """Write Parquet in the layout of Hugging Face's `datasets`: a column of images, the label as a class, the rest.

    The images are stored uncompressed and plain, since they are compressed already, so that one can be read alone.
    """
    import pyarrow.parquet

    schema = parquet_schema(plan)
    plain = f"{IMAGE}.bytes"
    others = [f"{IMAGE}.path", *(name for name in schema.names if name != IMAGE)]
    with pyarrow.parquet.ParquetWriter(
        path,
        schema,
        compression={plain: "none"} | dict.fromkeys(others, "snappy"),
        use_dictionary=[name for name in others if "." not in name],
        write_statistics=[name for name in others if "." not in name],
        write_batch_size=_PAGE_ROWS,
    ) as writer:
        for group in _groups(images):
            writer.write_table(_arrow(plan, group, schema), row_group_size=_GROUP_ROWS)


def _groups(images: Images) -> Iterator[list[tuple[int, bytes]]]:
    group, total = list[tuple[int, bytes]](), 0
    for number, data in images:
        if group and (len(group) == _GROUP_ROWS or total + len(data) > _GROUP_BYTES):
            yield group
            group, total = [], 0
        group.append((number, data))
        total += len(data)
    if group:
        yield group


def _arrow(plan: PackPlan, group: list[tuple[int, bytes]], schema: Any) -> Any:
    import pyarrow

    numbers = [number for number, _ in group]
    structures = [{"bytes": data, "path": plan.keys[number]} for number, data in group]
    arrays = [pyarrow.array(structures, schema.field(IMAGE).type)]
    part = plan.columns.iloc[numbers]
    number_of = {label: number for number, label in enumerate(plan.classes)}
    for name in schema.names[1:]:
        values = [_plain(value) for value in part[name]]
        if name == "label":
            values = [number_of.get(str(value)) for value in values]
        arrays.append(pyarrow.array(values, schema.field(name).type))
    return pyarrow.Table.from_arrays(arrays, schema=schema)


def parquet_schema(plan: PackPlan) -> Any:
    """Return the schema of all of a plan's Parquet files, with what `datasets` reads of the columns' kinds."""
    import pyarrow

    kinds = {str(name): "int64" if name == "label" else _kind(plan.columns[name]) for name in plan.columns}
    features: dict[str, Any] = {IMAGE: {"_type": "Image"}}
    features |= {name: {"dtype": kind, "_type": "Value"} for name, kind in kinds.items()}
    if "label" in kinds:
        features["label"] = {"names": plan.classes, "_type": "ClassLabel"}
    image = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    fields = [(IMAGE, image), *((name, pyarrow.type_for_alias(kind)) for name, kind in kinds.items())]
    facts = json.dumps({"info": {"features": features}}, ensure_ascii=False)
    return pyarrow.schema(fields, metadata={"huggingface": facts})


def _kind(column: "pd.Series[Any]") -> str:
    kind = pd.api.types.infer_dtype(column.dropna().astype(object), skipna=True)
    return {"integer": "int64", "boolean": "bool", "floating": "float64"}.get(kind, "string")


def _plain(value: Any) -> Any:
    """Return a cell as plain Python, None for a blank."""
    if value is None or value is pd.NA or (isinstance(value, float | np.floating) and np.isnan(value)):
        return None
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, str | int | float | bool) else str(value)
