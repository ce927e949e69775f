"""Text that people and other systems send."""

from __future__ import annotations

from services.errors import InvalidInput


def check_text(field: str, text: str, *, length_max: int) -> None:
    """Refuse text that is blank, too long, or that the database cannot hold.

    Raises: InvalidInput naming the field.
    """
    if not text.strip():
        raise InvalidInput(field, "This must not be empty.")
    if len(text) > length_max:
        raise InvalidInput(field, f"This has at most {length_max} characters.")
    if "\x00" in text or not text.isprintable():
        raise InvalidInput(field, "This must not contain control characters.")
