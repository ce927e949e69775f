"""Where events are sent ("The Webhook Endpoint object")."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sandbox.errors import Json, invalid
from sandbox.ids import new_id, random_text
from sandbox.listing import list_objects
from sandbox.operations import Call, Operation, new_metadata, update_metadata

if TYPE_CHECKING:
    from sandbox.work import Work


def make(
    work: Work, url: str, events: list[str], *, connect: bool, secret: str | None = None,
    api_version: str | None = None,
    description: str | None = None, metadata: dict[str, str] | None = None,
) -> Json:  # fmt: skip
    """Register an endpoint; a secret is made where none is given."""
    return work.add(
        {
            "id": new_id("we"), "object": "webhook_endpoint", "api_version": api_version, "application": None,
            "created": work.now, "description": description, "enabled_events": events, "livemode": False,
            "metadata": metadata or {}, "status": "enabled", "url": url,
            "_secret": secret or f"whsec_{random_text(32)}", "_connect": connect,
        },
        account=work.platform,
    )  # fmt: skip


def create(call: Call) -> Json:
    """ "Create a webhook endpoint"; only this answer has its secret."""
    params = call.params
    _check_url(params["url"])
    body = make(
        call.work, params["url"], params["enabled_events"], connect=call.param("connect", False),
        api_version=call.given("api_version"), description=call.given("description"), metadata=new_metadata(params),
    )  # fmt: skip
    return {**body, "secret": body["_secret"]}


def _check_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise invalid("Invalid URL: An explicit scheme (such as https) must be provided.", "url", "url_invalid")


def retrieve(call: Call) -> Json:
    """ "Retrieve a webhook endpoint"."""
    return call.work.get("webhook_endpoint", call.path["id"], "id", in_path=True)


def update(call: Call) -> Json:
    """ "Update a webhook endpoint"."""
    work, params = call.work, call.params
    work.get("webhook_endpoint", call.path["id"], "id", in_path=True)
    body = work.edit("webhook_endpoint", call.path["id"])
    if params.get("url"):
        _check_url(params["url"])
        body["url"] = params["url"]
    if params.get("enabled_events"):
        body["enabled_events"] = params["enabled_events"]
    if "description" in params:
        body["description"] = call.given("description")
    if "disabled" in params:
        body["status"] = "disabled" if params["disabled"] else "enabled"
    update_metadata(body, params.get("metadata"))
    return body


def delete(call: Call) -> Json:
    """ "Delete a webhook endpoint"."""
    call.work.get("webhook_endpoint", call.path["id"], "id", in_path=True)
    return call.work.remove("webhook_endpoint", call.path["id"])


def list_(call: Call) -> Json:
    """ "List all webhook endpoints"."""
    return list_objects(call, "webhook_endpoint", "/v1/webhook_endpoints")


def wants(endpoint: Json, type_: str, *, of_connected: bool) -> bool:
    """Whether an endpoint gets events of a type, from the platform or from connected accounts."""
    if endpoint["status"] != "enabled" or endpoint["_connect"] != of_connected:
        return False
    return "*" in endpoint["enabled_events"] or type_ in endpoint["enabled_events"]


OPERATIONS = (
    Operation("POST", "/v1/webhook_endpoints", create, "webhook_endpoint_create"),
    Operation("GET", "/v1/webhook_endpoints", list_, "webhook_endpoint_list"),
    Operation("GET", "/v1/webhook_endpoints/{id}", retrieve, "webhook_endpoint_retrieve"),
    Operation("POST", "/v1/webhook_endpoints/{id}", update, "webhook_endpoint_update"),
    Operation("DELETE", "/v1/webhook_endpoints/{id}", delete, "webhook_endpoint_delete"),
)
