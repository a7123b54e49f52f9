"""Paths of files of ads: local ones, and addresses of object stores."""

from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa
from pyarrow import fs

from app.core.errors import DataError, first_line
from app.data.files import CSV, JSON_LINES, PARQUET, check_suffix, has_suffix

_ARROW_SCHEMES = ("file", "s3", "gs", "gcs", "abfs", "abfss", "hdfs")
"""The schemes that pyarrow opens itself; fsspec opens others, with the package for each."""


@dataclass(frozen=True)
class StoragePath:
    """A path and its file system. Processes can send it to each other before anything is opened."""

    system: fs.FileSystem
    path: str

    @classmethod
    def of(cls, name: str) -> "StoragePath":
        """Return the `StoragePath` of a local path, or of an address such as s3://bucket/ads.csv.

        Raises:
            DataError: the scheme of the address is unknown, or the package that opens it is not
                installed.
        """
        if "://" not in name:
            return cls(fs.LocalFileSystem(), str(Path(name).absolute()))
        try:
            by_arrow = name.split("://")[0] in _ARROW_SCHEMES
            return cls(*fs.FileSystem.from_uri(name if by_arrow else f"fsspec+{name}"))
        except (pa.ArrowException, ImportError, ValueError, OSError) as error:
            raise DataError.at(name, f"cannot be reached: {first_line(error)}.") from error

    def files(self) -> list[str]:
        """Return the files of ads here, sorted: of a folder and those below, or of a glob pattern.

        A file's path is returned as it is. Names that begin with a dot or an underscore are left
        out, by the convention of all readers of partitioned data.

        Raises:
            DataError: there are none, or a single file is not of a known format.
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
            and has_suffix(PurePosixPath(info.path), CSV + JSON_LINES + PARQUET)
            and not any(step[0] in "._" for step in info.path[len(top) :].strip("/").split("/"))
            and (not pattern or PurePosixPath(info.path).match(pattern))
        )
