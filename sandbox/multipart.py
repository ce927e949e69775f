"""Forms with files in them (`multipart/form-data`, RFC 7578), into the same tree as other forms."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from sandbox import forms
from sandbox.errors import invalid

if TYPE_CHECKING:
    from collections.abc import Iterator

MEDIA_TYPE: Final = "multipart/form-data"
_BOUNDARY: Final = re.compile(r'boundary="?([^";,]{1,70})"?', re.IGNORECASE)
_NAME: Final = re.compile(rb'\bname="([^"]*)"', re.IGNORECASE)
_FILENAME: Final = re.compile(rb'\bfilename="([^"]*)"', re.IGNORECASE)
_BREAK: Final = b"\r\n"


@dataclass(frozen=True, slots=True)
class Upload:
    """A file as it came in; its name is what its sender calls it."""

    filename: str
    contents: bytes


def decode(body: bytes, content_type: str) -> dict[str, Any]:
    """The tree of a form; leaves are strings and uploads.

    Raises: ApiError for what is no such form.
    """
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise invalid("The request's Content-Type names no boundary.", is_saved=False)
    return forms.tree(_fields(body, b"--" + found[1].encode()))


def _fields(body: bytes, delimiter: bytes) -> Iterator[tuple[str, Any]]:
    parts = (_BREAK + body).split(_BREAK + delimiter)
    if len(parts) < 2 or not parts[-1].startswith(b"--"):
        raise invalid("The request's body ends before its form does.", is_saved=False)
    for part in parts[1:-1]:
        head, is_whole, contents = part.partition(2 * _BREAK)
        name = _NAME.search(head)
        if not is_whole or name is None:
            raise invalid("A part of the form has no name.", is_saved=False)
        filename = _FILENAME.search(head)
        if filename is None:
            yield name[1].decode("utf-8", "replace"), contents.decode("utf-8", "replace")
        else:
            yield name[1].decode("utf-8", "replace"), Upload(filename[1].decode("utf-8", "replace"), contents)
