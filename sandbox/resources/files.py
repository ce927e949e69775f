"""Files that are uploaded, as evidence for disputes ("The File object", "File upload guide")."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sandbox.errors import invalid
from sandbox.ids import new_id
from sandbox.listing import as_list, list_objects
from sandbox.multipart import Upload
from sandbox.operations import Call, Contents, Operation

if TYPE_CHECKING:
    from sandbox.errors import Json

_MIB: Final = 1_048_576
_LARGEST: Final = 16 * _MIB
_LARGEST_OF: Final = {
    "dispute_evidence": 5 * _MIB, "business_icon": _MIB // 2, "business_logo": _MIB // 2,
    "customer_signature": 4 * _MIB,
}  # fmt: skip
_IMAGES: Final = ("jpg", "png")
_TYPES_OF: Final = {
    "dispute_evidence": (*_IMAGES, "pdf"), "identity_document": (*_IMAGES, "pdf"),
    "additional_verification": (*_IMAGES, "pdf"), "account_requirement": (*_IMAGES, "pdf"), "pci_document": ("pdf",),
    "business_icon": _IMAGES, "business_logo": _IMAGES, "customer_signature": _IMAGES,
}  # fmt: skip
_BEGINNINGS: Final = {b"%PDF": "pdf", b"\xff\xd8\xff": "jpg", b"\x89PNG": "png", b"GIF8": "gif"}
_MEDIA_TYPES: Final = {
    "pdf": "application/pdf", "jpg": "image/jpeg", "png": "image/png", "gif": "image/gif", "csv": "text/csv",
    "txt": "text/plain",
}  # fmt: skip


def create(call: Call) -> Json:
    """ "Create a file"."""
    work, params = call.work, call.params
    upload, purpose = params["file"], params["purpose"]
    if not isinstance(upload, Upload):
        raise invalid("The file must be uploaded as a part of multipart/form-data.", "file", is_saved=False)
    if (call.given("file_link_data") or {}).get("create"):
        raise invalid("File links are not built into the sandbox.", "file_link_data")
    type_ = _type_of(upload)
    allowed, largest = _TYPES_OF.get(purpose), _LARGEST_OF.get(purpose, _LARGEST)
    if allowed is not None and type_ not in allowed:
        raise invalid(f"Files for {purpose} are of these types: {', '.join(allowed)}.", "file")
    if not upload.contents:
        raise invalid("The file is empty.", "file")
    if len(upload.contents) > largest:
        raise invalid(f"Files for {purpose} have up to {largest} bytes; this one has {len(upload.contents)}.", "file")
    id_ = new_id("file")
    work.contents[id_] = upload.contents
    file = work.add(
        {
            "id": id_, "object": "file", "created": work.now, "expires_at": None, "filename": upload.filename,
            "links": as_list([], f"/v1/file_links?file={id_}"), "purpose": purpose, "size": len(upload.contents),
            "title": None, "type": type_, "url": f"{work.base_url}/v1/files/{id_}/contents",
        }
    )  # fmt: skip
    work.emit("file.created", file)
    return file


def _type_of(upload: Upload) -> str | None:
    """By how a file begins; what it is called tells of others only."""
    for beginning, type_ in _BEGINNINGS.items():
        if upload.contents.startswith(beginning):
            return type_
    extension = upload.filename.rpartition(".")[2].lower()
    return extension if extension in _MEDIA_TYPES and extension not in _BEGINNINGS.values() else None


def retrieve(call: Call) -> Json:
    """ "Retrieve a file"."""
    return call.work.get("file", call.path["file"], "file", in_path=True)


def contents(call: Call) -> Contents:
    """What a file holds ("Download file contents")."""
    file = retrieve(call)
    media_type = _MEDIA_TYPES.get(file["type"] or "", "application/octet-stream")
    return Contents(media_type, call.work.store.contents(file["id"]))


def list_(call: Call) -> Json:
    """ "List all files"."""
    return list_objects(call, "file", "/v1/files", filters=("purpose",))


OPERATIONS = (
    Operation("POST", "/v1/files", create, "file_create"),
    Operation("GET", "/v1/files", list_, "file_list"),
    Operation("GET", "/v1/files/{file}", retrieve, "file_retrieve"),
    Operation("GET", "/v1/files/{file}/contents", contents),
)
