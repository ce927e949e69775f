"""Which media type an answer has, by the request's `Accept` (RFC 9110, "Proactive Negotiation")."""

from __future__ import annotations

from typing import Final

RESPONSE_JSON: Final = "application/graphql-response+json"
PLAIN_JSON: Final = "application/json"
HTML: Final = "text/html"

_LENGTH: Final = 1_000


def media_type(accept: str | None) -> str | None:
    """The better of the two JSON types; None where neither is acceptable.

    Who names neither, by `*/*` or no header at all, gets `application/json`, as the specification's audit expects.
    """
    if accept is None or accept == "*/*":
        return PLAIN_JSON
    weights = _weights(accept)
    wildcard = weights.get("application/*", weights.get("*/*", 0.0))
    response, plain = weights.get(RESPONSE_JSON, wildcard), weights.get(PLAIN_JSON, wildcard)
    if max(response, plain) <= 0:
        return None
    if response == plain:
        return RESPONSE_JSON if RESPONSE_JSON in weights else PLAIN_JSON
    return RESPONSE_JSON if response > plain else PLAIN_JSON


def wants_html(accept: str | None) -> bool:
    """Whether this is a browser that opens a page: it names HTML and prefers it to JSON."""
    if accept is None or HTML not in accept:
        return False
    weights = _weights(accept)
    return weights.get(HTML, 0.0) > max(weights.get(RESPONSE_JSON, 0.0), weights.get(PLAIN_JSON, 0.0))


def _weights(accept: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for part in accept[:_LENGTH].lower().split(","):
        name, *parameters = part.split(";")
        weight = 1.0
        for parameter in parameters:
            key, _, value = parameter.strip().partition("=")
            if key == "q":
                weight = _quality(value)
        weights[name.strip()] = weight
    return weights


def _quality(value: str) -> float:
    try:
        quality = float(value)
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= 1 else 0.0


def is_json(content_type: str | None) -> bool:
    """Whether a body is JSON in UTF-8, the one type that a POST may have."""
    if content_type is None:
        return False
    name, *parameters = content_type.lower().split(";")
    pairs = [parameter.strip().partition("=") for parameter in parameters]
    charsets = {value.strip('" ') for key, _, value in pairs if key == "charset"}
    return name.strip() == PLAIN_JSON and charsets <= {"utf-8", "utf8"}
