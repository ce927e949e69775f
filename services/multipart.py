"""Forms with a file in them (`multipart/form-data`, RFC 7578): the same request is the same bytes each time."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

if TYPE_CHECKING:
    from services.stripe_requests import StripeRequest, Upload

_BREAK: Final = b"\r\n"
# What RFC 7578 has escaped in names.
_ESCAPED: Final = str.maketrans({'"': "%22", "\r": "%0D", "\n": "%0A"})


def multipart(request: StripeRequest, upload: Upload) -> tuple[bytes, str]:
    """The body of a request with a file, which takes the place of its field `file`, and its Content-Type."""
    # No file holds what is derived from its own digest.
    seed = f"{request.idempotency_key}:{hashlib.sha256(upload.content).hexdigest()}"
    boundary = f"paydesk-{hashlib.sha256(seed.encode()).hexdigest()[:40]}"
    parts = [
        _part(f'name="{name}"', None, value.encode()) for name, value in parse_qsl(request.body) if name != "file"
    ]
    filename = upload.filename.translate(_ESCAPED)
    parts.append(_part(f'name="file"; filename="{filename}"', upload.media_type, upload.content))
    delimiter = b"--" + boundary.encode()
    body = b"".join(delimiter + _BREAK + part + _BREAK for part in parts) + delimiter + b"--" + _BREAK
    return body, f"multipart/form-data; boundary={boundary}"


def _part(disposition: str, media_type: str | None, content: bytes) -> bytes:
    lines = [f"Content-Disposition: form-data; {disposition}".encode()]
    if media_type is not None:
        lines.append(f"Content-Type: {media_type}".encode())
    return _BREAK.join([*lines, b"", content])
