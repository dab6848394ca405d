"""Whether a folder is where several processes can write one database: its file system, and whether locks work there."""

import errno
import os
import re
import struct
import sys
from pathlib import Path
from tempfile import NamedTemporaryFile

from eml.files import real_path
from eml.storage.copies import advice_to_change, copied_from

NETWORK = {
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ncpfs", "davfs", "fuse.davfs2", "ceph", "fuse.ceph"),
    *("lustre", "gpfs", "beegfs", "glusterfs", "fuse.glusterfs", "fuse.sshfs", "fuse.rclone", "fuse.s3fs"),
    *("fuse.gcsfuse", "fuse.goofys", "fuse.mount-s3", "fuse.juicefs", "juicefs", "orangefs", "pvfs2"),
}
"""File systems that several computers share: the memory that the writers of a database share is on one of them."""

MOUNTS = Path("/proc/self/mountinfo")


def why_not_writable(folder: Path) -> str | None:
    """Return why no index can be written in an existing folder, or None."""
    if (address := copied_from(folder)) is not None:
        return f"it is a copy of {address}, which would not change with it; {advice_to_change(address)}"
    kind = file_system(folder)
    if kind in NETWORK:
        return (
            f"it is on a network file system ({kind}), where the memory that its writers share does not reach other "
            "computers; build the index on a local disk and copy the folder, which can be read anywhere"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        return "the folder is not writable"
    try:
        with NamedTemporaryFile(dir=folder, prefix=".eml-tmp-") as file:
            return None if locks_work(Path(file.name)) else "locks of files do not work on its file system"
    except OSError as error:
        return error.strerror or str(error)


def file_system(path: Path) -> str | None:
    """Return the type of the file system of an existing path, such as `ext4` or `nfs4`; None where it is unknown."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return None
    place, longest, kind = real_path(path), -1, None
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, types = before.split(), after.split()
        if len(fields) < 5 or not types:
            continue
        mount = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields[4]))
        if place.is_relative_to(mount) and len(mount.parts) >= longest:  # the last of several at one place is on top
            longest, kind = len(mount.parts), types[0]
    return kind


def locks_work(path: Path) -> bool:
    """Return whether the file system refuses a lock of an existing file that someone else has.

    Only Linux has locks by which one process can see that; elsewhere they are taken to work.
    """
    if sys.platform != "linux":
        return True
    import fcntl

    lock = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 1, 0)
    with path.open("r+b") as first, path.open("r+b") as second:
        try:
            fcntl.fcntl(first, fcntl.F_OFD_SETLK, lock)
        except OSError:
            return False
        try:
            fcntl.fcntl(second, fcntl.F_OFD_SETLK, lock)
        except OSError as error:
            return error.errno in (errno.EAGAIN, errno.EACCES)
    return False
