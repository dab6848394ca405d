"""Ranges of bytes of one version of an object: an answer of another version is refused, however it comes about."""

import errno
from typing import Any, cast

from eml.storage.content_ranges import check_range
from eml.storage.failures import REPLACED, ReplacedObjectError, status_of
from eml.storage.file_systems import file_system, location
from eml.storage.object_info import ObjectInfo, info_of
from eml.storage.remote_path import RemotePath
from eml.storage.retries import with_retries

_FAILED_CONDITION = 412


def read_range(path: RemotePath, info: ObjectInfo, start: int, end: int) -> bytes:
    """Return the bytes of a range of a version of an object.

    S3 is asked for this version alone, and it and a web server say in their answer of which version it is; of other
    places the version is asked for after the bytes have come.

    Args:
        path: The object.
        info: The version, which has a token.
        start: The first byte.
        end: The byte after the last one.

    Raises:
        ReplacedObjectError: The object has another version by now.
        RefusedAnswerError: The answer says that it holds other bytes.
        OSError: It cannot be read, after retries; FileNotFoundError where it is gone.
    """
    system, place = file_system(path), location(path)

    def request() -> bytes:
        if path.scheme == "s3" and info.tag:
            data = _of_s3(system, place, info, start, end)
        elif path.scheme in ("https", "http"):
            data = cast(bytes, system.cat_file(place, start=start, end=end, version=info))
        else:
            data = cast(bytes, system.cat_file(place, start=start, end=end))
            if not info_of(system.info(place)).is_same_version(info):
                raise ReplacedObjectError(errno.EIO, REPLACED)
        if len(data) != end - start:
            raise OSError(errno.EIO, f"{len(data):,} bytes were read of {end - start:,}", str(path))
        return data

    return with_retries(request, path)


def _of_s3(system: Any, place: str, info: ObjectInfo, start: int, end: int) -> bytes:
    """Return a range of the object that has this ETag; s3fs itself has no argument for it.

    Of a longer answer one byte more is returned.
    """
    from fsspec.asyn import sync

    tag, data = info.tag, bytearray()

    async def request() -> str:
        bucket, key, version = system.split_path(place)
        facts = {"Bucket": bucket, "Key": key, "IfMatch": f'"{tag}"', "Range": f"bytes={start}-{end - 1}"}
        answer = await system._call_s3("get_object", **facts, **({"VersionId": version} if version else {}))
        try:
            if header := answer.get("ContentRange"):
                check_range(str(header), start, end, info.bytes)
            while len(data) <= end - start and (part := await answer["Body"].read(end - start + 1 - len(data))):
                data.extend(part)
            return str(answer.get("ETag", ""))
        finally:
            answer["Body"].close()

    try:
        own = sync(system.loop, request)
    except Exception as error:
        if status_of(error) == _FAILED_CONDITION:
            raise ReplacedObjectError(errno.EIO, REPLACED) from error
        raise
    if own.strip('"') != tag:
        raise ReplacedObjectError(errno.EIO, REPLACED)
    return bytes(data)
