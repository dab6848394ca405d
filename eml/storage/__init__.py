"""Places that are not local folders: object stores and HTTP servers, read through fsspec, which is imported lazily."""

from eml.storage.listing import list_objects as list_objects
from eml.storage.listing import names_in
from eml.storage.objects import file_state as file_state
from eml.storage.objects import object_info as object_info
from eml.storage.objects import open_binary as open_binary
from eml.storage.objects import read_bytes as read_bytes
from eml.storage.remembered import as_file as as_file
from eml.storage.remembered import file_bytes as file_bytes
from eml.storage.remembered import file_info, open_file
from eml.storage.remembered import forget_files as forget_files
from eml.storage.remote_path import RemotePath as RemotePath
from eml.storage.remote_path import as_place as as_place
from eml.storage.remote_path import common_place as common_place
from eml.storage.remote_path import is_remote as is_remote
from eml.storage.remote_path import is_url as is_url
from eml.storage.remote_path import place_below as place_below
from eml.storage.remote_path import read_by


class _FsspecReader:
    """Asks remote places for paths."""

    info = staticmethod(file_info)
    names = staticmethod(names_in)
    open = staticmethod(open_file)
    read = staticmethod(file_bytes)


read_by(_FsspecReader())
