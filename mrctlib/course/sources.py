"""Where real data come from: the folder that MRCT_DATA names, else the user's cache, else a download into that cache.

Nothing here is needed: every set has an embedded default, and `MRCT_DATA=embedded` asks for it outright.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import urllib.request
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from mrctlib.runtime import InputError, progress, whole_file

EMBEDDED = "embedded"
TIMEOUT = 5.0  # seconds without an answer before the next mirror is asked
CHUNK = 1 << 20  # bytes


@dataclass(frozen=True)
class RemoteFile:
    """One file of a set: its path in the data folder, the SHA-256 of its content, and two or more mirrors.

    A mirror whose address ends in `.gz` is unpacked on the way; the digest is that of what was unpacked. Without a
    mirror the file is only looked for.
    """

    path: str
    sha256: str = ""
    urls: Sequence[str] = ()


def cache_folder() -> Path:
    """Where downloads are kept: `mrct` in `XDG_CACHE_HOME`, else in `~/.cache`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "mrct")


def find_files(name: str, files: Sequence[RemoteFile]) -> Path | None:
    """The folder below which all files of the set are; None, said in one printed line, where they cannot be had.

    Files in `MRCT_DATA` are the user's own: they are taken as they are. What is downloaded must have the right digest.

    Raises:
        InputError: `MRCT_DATA` names a folder that does not exist.
    """
    own = os.environ.get("MRCT_DATA")
    if own == EMBEDDED:
        return None
    if own and not Path(own).is_dir():
        raise InputError(f"MRCT_DATA is {own!r}, which is no folder: correct it, unset it, or set it to {EMBEDDED}")
    folders = ([Path(own)] if own else []) + [cache_folder()]
    for folder in folders:
        if all((folder / file.path).is_file() for file in files):
            return folder
    try:
        for file in files:
            if not (cache_folder() / file.path).is_file():
                _download(file, cache_folder() / file.path)
    except InputError as problem:
        print(f"{name} could not be downloaded, so embedded data stand in for it ({problem})")
        return None
    return cache_folder()


def _download(file: RemoteFile, path: Path) -> None:
    """From the first mirror that serves the right bytes; an InputError with what each one said, if none does."""
    problems = []
    for url in file.urls:
        try:
            return _fetch(url, file.sha256, path)
        except (OSError, HTTPException, EOFError, zlib.error, InputError) as error:
            problems.append(f"{url}: {error}")
    raise InputError("; ".join(problems) or f"it is too large to fetch unasked: put {file.path} into MRCT_DATA")


def _fetch(url: str, sha256: str, path: Path) -> None:
    """Write the content of one address to `path`, whole or not at all."""
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=TIMEOUT) as response, whole_file(path, force=True) as part:
        content = gzip.GzipFile(fileobj=response) if url.endswith(".gz") else response
        with open(part, "wb") as out, progress(None, path.name, unit="B", unit_scale=True, leave=False) as bar:
            while piece := content.read(CHUNK):
                digest.update(piece)
                out.write(piece)
                bar.update(len(piece))
        if digest.hexdigest() != sha256:
            raise InputError("not the bytes that were expected (another SHA-256)")
