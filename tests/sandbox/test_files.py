from __future__ import annotations

import io
from uuid import uuid4

import pytest
import stripe
from aiohttp import FormData

from tests.sandbox.conftest import running
from tests.sandbox.driver import Driver
from tests.sandbox.shapes import missing

PDF = b"%PDF-1.7\r\n--boundary\r\n\x00\xff\r\n"
MIB = 1_048_576


def named(name, contents=PDF):
    file = io.BytesIO(contents)
    file.name = name
    return file


async def uploaded(stripe_api, contents=PDF, name="receipt.pdf", purpose="dispute_evidence", **options):
    return await stripe_api.v1.files.create_async({"file": named(name, contents), "purpose": purpose}, options)


async def held(stripe_api, url):
    async with stripe_api.http.get(url, headers={"Authorization": f"Bearer {stripe_api.key}"}) as response:
        return response.status, response.headers["Content-Type"], await response.read()


async def test_a_file_is_kept_as_it_was_uploaded(stripe_api):
    file = await uploaded(stripe_api)
    assert missing(file.to_dict()) == []
    assert (file.filename, file.type, file.size, file.purpose) == ("receipt.pdf", "pdf", len(PDF), "dispute_evidence")
    assert file.id.startswith("file_")
    assert await held(stripe_api, file.url) == (200, "application/pdf", PDF)
    assert (await stripe_api.v1.files.retrieve_async(file.id)).url == file.url
    assert [event.type for event in await stripe_api.events_of(file.id)] == ["file.created"]


async def test_its_type_is_what_it_holds_and_not_what_it_is_called(stripe_api):
    picture = await uploaded(stripe_api, b"\x89PNG\r\n\x1a\n" + bytes(100), "scan.pdf")
    assert picture.type == "png"
    assert (await held(stripe_api, picture.url))[1] == "image/png"
    with pytest.raises(stripe.InvalidRequestError, match="these types: jpg, png, pdf") as refusal:
        await uploaded(stripe_api, b"not a document at all", "receipt.pdf")
    assert refusal.value.param == "file"
    table = await uploaded(stripe_api, b"a,b\r\n1,2\r\n", "table.csv", "tax_document_user_upload")
    assert table.type == "csv"


async def test_a_file_that_is_too_large_is_refused_and_not_kept(stripe_api):
    async def answer(size):
        form = FormData({"purpose": "dispute_evidence"})
        form.add_field("file", io.BytesIO(PDF.ljust(size)), filename="large.pdf")
        headers = {"Authorization": f"Bearer {stripe_api.key}"}
        async with stripe_api.http.post(f"{stripe_api.url}/v1/files", data=form, headers=headers) as response:
            return response.status, await response.json()

    status, largest = await answer(5 * MIB)
    assert (status, largest["size"]) == (200, 5 * MIB)
    status, refused = await answer(5 * MIB + 1)
    assert (status, refused["error"]["param"]) == (400, "file")
    assert (await answer(18 * MIB))[0] == 413
    with pytest.raises(stripe.InvalidRequestError):
        await uploaded(stripe_api, b"")
    newest = (await stripe_api.v1.files.list_async({"purpose": "dispute_evidence", "limit": 1})).data[0]
    assert newest.id == largest["id"]


async def test_files_are_listed_by_their_purpose(stripe_api):
    evidence = await uploaded(stripe_api)
    logo = await uploaded(stripe_api, b"\xff\xd8\xff" + bytes(9), "logo.jpg", "business_logo")
    for purpose, file in (("dispute_evidence", evidence), ("business_logo", logo)):
        assert (await stripe_api.v1.files.list_async({"purpose": purpose, "limit": 1})).data[0].id == file.id
    with pytest.raises(stripe.InvalidRequestError):
        await uploaded(stripe_api, purpose="a_hobby")


async def test_the_same_key_uploads_once_and_another_file_is_refused(stripe_api):
    key = str(uuid4())
    first = await uploaded(stripe_api, idempotency_key=key)
    assert (await uploaded(stripe_api, idempotency_key=key)).id == first.id
    with pytest.raises(stripe.IdempotencyError):
        await uploaded(stripe_api, PDF + b"more", idempotency_key=key)


async def test_what_is_no_upload_is_refused_in_stripes_words(stripe_api):
    status, body, _ = await stripe_api.raw("POST", "/v1/files", "purpose=dispute_evidence&file=text")
    assert (status, body["error"]["param"]) == (400, "file")
    status, body, _ = await stripe_api.raw("POST", "/v1/files", "purpose=dispute_evidence")
    assert (status, body["error"]["code"]) == (400, "parameter_missing")
    for content_type, form in (
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"--b\r\n\r\n"),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n"),
    ):
        headers = {"Authorization": f"Bearer {stripe_api.key}", "Content-Type": content_type}
        async with stripe_api.http.post(f"{stripe_api.url}/v1/files", data=form, headers=headers) as response:
            assert response.status == 400
    status, body, _ = await stripe_api.raw("GET", "/v1/files/file_none/contents")
    assert (status, body["error"]["code"]) == (404, "resource_missing")


async def test_a_hosts_file_is_the_hosts(stripe_api):
    host = await stripe_api.host()
    file = await uploaded(stripe_api, stripe_account=host)
    assert (await stripe_api.v1.files.retrieve_async(file.id, {}, {"stripe_account": host})).id == file.id
    with pytest.raises(stripe.InvalidRequestError):
        await stripe_api.v1.files.retrieve_async(file.id)


async def test_a_dispute_takes_files_that_were_uploaded_for_it(stripe_api):
    evidence, logo = await uploaded(stripe_api), await uploaded(stripe_api, b"\xff\xd8\xff", "l.jpg", "business_logo")
    intent = await stripe_api.pay()
    dispute = await stripe_api.control("POST", f"charges/{intent.latest_charge}/dispute")
    with pytest.raises(stripe.InvalidRequestError, match="business_logo"):
        await stripe_api.v1.disputes.update_async(dispute["id"], {"evidence": {"receipt": logo.id}})
    answered = await stripe_api.v1.disputes.update_async(
        dispute["id"], {"evidence": {"receipt": evidence.id}, "expand": ["evidence.receipt"]}
    )
    assert (answered.status, answered.evidence.receipt.filename) == ("under_review", "receipt.pdf")
    assert missing(answered.to_dict()) == []


async def test_what_a_file_holds_survives_a_kill(tmp_path):
    async with running(tmp_path) as process, Driver.open(process.url) as driver:
        file = await uploaded(driver)
        await process.kill()
    async with running(tmp_path) as process, Driver.open(process.url) as driver:
        url = f"{driver.url}/v1/files/{file.id}/contents"
        assert await held(driver, url) == (200, "application/pdf", PDF)
