"""Where files of ads lie: a local path, or an address of an object store.

A place travels between processes; what it names is opened where the work is done.
"""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
from pyarrow import fs

from app.core.errors import DataError, first_line
from app.data.files import CSV, LINES, PARQUET, check_suffix, is_one_of

_OWN = ("file", "s3", "gs", "gcs", "abfs", "abfss", "hdfs")
"""What pyarrow opens by itself; other addresses are fsspec's, where its package is installed."""


@dataclass(frozen=True)
class Place:
    """A path and the file system that it is in; travels between processes."""

    system: fs.FileSystem
    path: str

    @classmethod
    def of(cls, name: str) -> "Place":
        """Find a local path, or an address that pyarrow or fsspec knows, as s3://bucket/ads.csv.

        Raises:
            DataError: nobody knows such addresses, or what reads them is not installed.
        """
        if "://" not in name:
            return cls(fs.LocalFileSystem(), str(Path(name).absolute()))
        try:
            known = name.split("://")[0] in _OWN
            return cls(*fs.FileSystem.from_uri(name if known else f"fsspec+{name}"))
        except (pa.ArrowException, ImportError, ValueError, OSError) as error:
            raise DataError.at(name, f"cannot be reached: {first_line(error)}.") from error

    def files(self) -> list[str]:
        """Return the path itself, the files of ads of this folder, or those a pattern matches.

        What begins with a dot or an underscore is left out, as all readers of partitions do.

        Raises:
            DataError: there is none.
        """
        try:
            found = self._find()
        except OSError as error:
            raise DataError.at(self.path, f"cannot be read: {first_line(error)}.") from error
        if not found:
            raise DataError.at(self.path, "there is no such file of ads, nor a folder of them.")
        return found

    def _find(self) -> list[str]:
        top, pattern = self.path.rstrip("/"), ""
        if any(sign in top for sign in "*?["):
            steps = PurePosixPath(top).parts
            fixed = next(n for n, step in enumerate(steps) if any(sign in step for sign in "*?["))
            top, pattern = str(PurePosixPath(*steps[:fixed])), top
        elif self.system.get_file_info(top).type == fs.FileType.File:
            check_suffix(PurePosixPath(top))
            return [top]
        selector = fs.FileSelector(top, recursive=True, allow_not_found=True)
        return sorted(
            info.path
            for info in self.system.get_file_info(selector)
            if info.type == fs.FileType.File
            and is_one_of(PurePosixPath(info.path), CSV + LINES + PARQUET)
            and not any(step[0] in "._" for step in info.path[len(top) :].strip("/").split("/"))
            and (not pattern or PurePosixPath(info.path).match(pattern))
        )
