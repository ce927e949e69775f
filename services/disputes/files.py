"""Files of the evidence, as they come in: base64, of the kinds and sizes that banks take ("Dispute evidence")."""

from __future__ import annotations

import binascii
import hashlib
from base64 import b64decode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from services.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Sequence

    from models.disputes import EvidenceFileField

FILES_SIZE_MAX: Final = 4_500_000
"""Bytes of all files of a dispute together ("Respond to disputes")."""
_NAME_MAX: Final = 255
_BEGINNINGS: Final = {"application/pdf": b"%PDF", "image/jpeg": b"\xff\xd8\xff", "image/png": b"\x89PNG\r\n\x1a\n"}


@dataclass(frozen=True, slots=True)
class FileInput:
    """A file as it was sent: `content` is base64."""

    field: EvidenceFileField
    name: str
    media_type: str
    content: str


@dataclass(frozen=True, slots=True)
class CheckedFile:
    """A file that can stand in the evidence."""

    field: EvidenceFileField
    name: str
    media_type: str
    content: bytes

    @property
    def digest(self) -> str:
        """What tells its content from another's."""
        return hashlib.sha256(self.content).hexdigest()


def checked_files(files: Sequence[FileInput]) -> list[CheckedFile]:
    """The files, decoded.

    Raises: InvalidInput naming the one at fault: of another type than it says, or than banks take; empty; too large
        together; two for the same field.
    """
    checked = [_checked(file, ["input", "files", str(place)]) for place, file in enumerate(files)]
    fields = [file.field for file in checked]
    for place, field in enumerate(fields):
        if field in fields[:place]:
            raise InvalidInput(
                path=["input", "files", str(place), "field"], message="There is one file for each field at most."
            )
    check_size(checked, 0)
    return checked


def check_size(files: Sequence[CheckedFile], staged: int) -> None:
    """Refuse files that are too large together with those that the dispute has already and keeps beside them.

    Args:
        staged: bytes of the latter.

    Raises: InvalidInput.
    """
    if files and staged + sum(len(file.content) for file in files) > FILES_SIZE_MAX:
        among = " Those that were staged before are among them." if staged else ""
        raise InvalidInput(
            path=["input", "files"], message=f"All files of a dispute have 4.5 MB together at most.{among}"
        )


def _checked(file: FileInput, path: list[str]) -> CheckedFile:
    if not file.name.strip() or len(file.name) > _NAME_MAX or not file.name.isprintable():
        raise InvalidInput(path=[*path, "name"], message=f"A file's name has 1 to {_NAME_MAX} printable characters.")
    beginning = _BEGINNINGS.get(file.media_type)
    if beginning is None:
        raise InvalidInput(path=[*path, "mediaType"], message=f"Banks take files of {', '.join(_BEGINNINGS)} alone.")
    try:
        content = b64decode(file.content, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidInput(path=[*path, "content"], message="This is not base64.") from None
    if not content:
        raise InvalidInput(path=[*path, "content"], message="The file is empty.")
    if not content.startswith(beginning):
        raise InvalidInput(path=[*path, "content"], message=f"This is no {file.media_type}.")
    return CheckedFile(file.field, file.name, file.media_type, content)
