from __future__ import annotations

from datetime import UTC, datetime

import pytest
import stripe

from tests.sandbox.shapes import missing


async def disputed(stripe_api, listener, method="pm_card_createDispute", *, account=None, **params):
    """A payment and its dispute, once the bank has opened it."""
    await listen(stripe_api, listener)
    intent = await stripe_api.pay(method, account=account, **params)
    return intent, await opened(stripe_api, listener, intent.latest_charge, account=account)


async def listen(stripe_api, listener):
    types = [f"charge.dispute.{name}" for name in ("created", "updated", "closed", "funds_withdrawn")]
    types += ["charge.dispute.funds_reinstated", "radar.early_fraud_warning.created"]
    for connect in (False, True):
        await stripe_api.v1.webhook_endpoints.create_async(
            {"url": listener.url, "enabled_events": types, "connect": connect}
        )


async def opened(stripe_api, listener, charge, *, account=None):
    await listener.hear("charge.dispute.created", charge=charge)
    options = {"stripe_account": account} if account else {}
    return (await stripe_api.v1.disputes.list_async({"charge": charge}, options)).data[0]


async def balance_of(stripe_api, account=None):
    balance = await stripe_api.v1.balance.retrieve_async({}, {"stripe_account": account} if account else {})
    return {
        entry.currency: entry.amount + pending.amount
        for entry, pending in zip(balance.available, balance.pending, strict=True)
    }


async def test_a_dispute_comes_a_moment_after_the_payment_and_takes_amount_and_fee(stripe_api, listener):
    before = (await balance_of(stripe_api))["usd"]
    intent, dispute = await disputed(stripe_api, listener)

    assert missing(dispute.to_dict()) == []
    assert (dispute.status, dispute.reason, dispute.amount) == ("needs_response", "fraudulent", 10_000)
    assert dispute.id.startswith("du_")
    assert dispute.payment_intent == intent.id
    card = dispute.payment_method_details.card
    assert (card.case_type, card.network_reason_code) == ("chargeback", "10.4")
    movement = dispute.balance_transactions[0]
    assert (movement.type, movement.reporting_category) == ("adjustment", "dispute")
    assert (movement.amount, movement.fee, movement.net) == (-10_000, 1_500, -11_500)
    assert movement.description == f"Chargeback withdrawal for {dispute.charge}"
    assert movement.fee_details[0].description == "Dispute fee"
    charge = await stripe_api.v1.charges.retrieve_async(dispute.charge)
    assert (charge.disputed, charge.amount_refunded) == (True, 0)
    assert (await balance_of(stripe_api))["usd"] == before + 10_000 - 320 - 11_500
    due = datetime.fromtimestamp(dispute.evidence_details.due_by, UTC)
    assert (due.hour, due.minute, due.second) == (23, 59, 59)
    assert not dispute.evidence_details.has_evidence
    await listener.hear("charge.dispute.funds_withdrawn", id=dispute.id)
    listed = await stripe_api.v1.balance_transactions.list_async({"source": dispute.id})
    assert listed.data == []


async def test_a_charge_that_was_charged_back_is_not_refunded_as_well(stripe_api, listener):
    intent, dispute = await disputed(stripe_api, listener)
    before = await balance_of(stripe_api)
    with pytest.raises(stripe.InvalidRequestError, match="has been charged back; cannot issue a refund") as refusal:
        await stripe_api.v1.refunds.create_async({"payment_intent": intent.id, "amount": 100})
    assert refusal.value.code == "charge_disputed"
    assert await balance_of(stripe_api) == before
    assert not dispute.is_charge_refundable


async def test_a_win_gives_the_amount_back_and_keeps_the_fee(stripe_api, listener):
    intent, dispute = await disputed(stripe_api, listener, "pm_card_createDisputeProductNotReceived")
    before = (await balance_of(stripe_api))["usd"]
    answered = await stripe_api.v1.disputes.update_async(
        dispute.id, {"evidence": {"uncategorized_text": "winning_evidence", "customer_name": "Ada"}}
    )
    assert (answered.status, answered.evidence_details.submission_count) == ("under_review", 1)
    assert answered.evidence_details.submission_method == "manual"

    await listener.hear("charge.dispute.closed", id=dispute.id)

    won = await stripe_api.v1.disputes.retrieve_async(dispute.id)
    assert missing(won.to_dict()) == []
    assert (won.status, won.is_charge_refundable) == ("won", True)
    assert [(one.amount, one.fee) for one in won.balance_transactions] == [(-10_000, 1_500), (10_000, 0)]
    assert won.balance_transactions[1].reporting_category == "dispute_reversal"
    assert (await balance_of(stripe_api))["usd"] == before + 10_000
    types = [event.type for event in await stripe_api.events_of(dispute.id)]
    assert types == [
        "charge.dispute.created", "charge.dispute.funds_withdrawn", "charge.dispute.updated",
        "charge.dispute.funds_reinstated", "charge.dispute.closed",
    ]  # fmt: skip
    assert (await stripe_api.v1.refunds.create_async({"payment_intent": intent.id})).amount == 10_000
    with pytest.raises(stripe.InvalidRequestError, match="This dispute is already closed"):
        await stripe_api.v1.disputes.close_async(dispute.id)


async def test_a_loss_moves_nothing_more(stripe_api, listener):
    _, dispute = await disputed(stripe_api, listener)
    before = await balance_of(stripe_api)
    await stripe_api.v1.disputes.update_async(
        dispute.id, {"evidence": {"uncategorized_text": "losing_evidence"}, "submit": True}
    )
    await listener.hear("charge.dispute.closed", id=dispute.id, status="lost")
    lost = await stripe_api.v1.disputes.retrieve_async(dispute.id)
    assert (lost.is_charge_refundable, len(lost.balance_transactions)) == (False, 1)
    assert await balance_of(stripe_api) == before


async def test_evidence_is_staged_until_it_is_submitted_and_then_stays(stripe_api, listener):
    _, dispute = await disputed(stripe_api, listener)
    staged = await stripe_api.v1.disputes.update_async(
        dispute.id, {"evidence": {"product_description": "A dive"}, "submit": False, "metadata": {"a": "b"}}
    )
    assert (staged.status, staged.evidence_details.submission_count) == ("needs_response", 0)
    assert staged.evidence_details.has_evidence
    await stripe_api.v1.disputes.update_async(dispute.id, {"evidence": {"service_date": "1 May"}, "submit": False})
    sent = await stripe_api.v1.disputes.update_async(dispute.id, {"submit": True})
    assert (sent.status, sent.evidence.product_description) == ("under_review", "A dive")
    with pytest.raises(stripe.InvalidRequestError, match="was submitted"):
        await stripe_api.v1.disputes.update_async(dispute.id, {"evidence": {"service_date": "2 May"}})
    kept = await stripe_api.v1.disputes.retrieve_async(dispute.id)
    assert (kept.evidence.service_date, kept.metadata.to_dict()) == ("1 May", {"a": "b"})


async def test_evidence_that_is_too_long_or_names_no_file_is_refused_whole(stripe_api, listener):
    _, dispute = await disputed(stripe_api, listener)
    for evidence, param in (
        ({"uncategorized_text": "x" * 20_001, "customer_name": "A"}, "evidence[uncategorized_text]"),
        ({"customer_name": "A", "receipt": "file_none"}, "evidence[receipt]"),
    ):
        with pytest.raises(stripe.InvalidRequestError) as refusal:
            await stripe_api.v1.disputes.update_async(dispute.id, {"evidence": evidence})
        assert refusal.value.param == param
    untouched = await stripe_api.v1.disputes.retrieve_async(dispute.id)
    assert (untouched.status, untouched.evidence.customer_name) == ("needs_response", None)
    assert not untouched.evidence_details.has_evidence


async def test_a_dispute_can_be_accepted(stripe_api, listener):
    _, dispute = await disputed(stripe_api, listener)
    closed = await stripe_api.v1.disputes.close_async(dispute.id)
    assert closed.status == "lost"
    with pytest.raises(stripe.InvalidRequestError, match="already closed"):
        await stripe_api.v1.disputes.update_async(dispute.id, {"metadata": {"a": "b"}})


async def test_an_inquiry_moves_nothing_and_ends_with_a_refund(stripe_api, listener):
    intent, inquiry = await disputed(stripe_api, listener, "pm_card_createDisputeInquiry")
    assert (inquiry.status, inquiry.is_charge_refundable) == ("warning_needs_response", True)
    assert inquiry.balance_transactions == []
    assert inquiry.payment_method_details.card.case_type == "inquiry"
    with pytest.raises(stripe.InvalidRequestError, match="cannot be closed"):
        await stripe_api.v1.disputes.close_async(inquiry.id)
    await stripe_api.v1.refunds.create_async({"payment_intent": intent.id, "amount": 4_000})
    assert (await stripe_api.v1.disputes.retrieve_async(inquiry.id)).status == "warning_needs_response"
    await stripe_api.v1.refunds.create_async({"payment_intent": intent.id})
    closed = await stripe_api.v1.disputes.retrieve_async(inquiry.id)
    assert (closed.status, closed.balance_transactions) == ("warning_closed", [])


async def test_an_inquiry_that_is_escalated_takes_what_was_not_given_back(stripe_api, listener):
    intent, inquiry = await disputed(stripe_api, listener, "pm_card_createDisputeInquiry")
    await stripe_api.v1.refunds.create_async({"payment_intent": intent.id, "amount": 4_000})
    answered = await stripe_api.v1.disputes.update_async(
        inquiry.id, {"evidence": {"uncategorized_text": "escalate_inquiry_evidence"}}
    )
    assert answered.status == "warning_under_review"
    await listener.hear("charge.dispute.funds_withdrawn", id=inquiry.id)
    escalated = await stripe_api.v1.disputes.retrieve_async(inquiry.id)
    assert (escalated.status, escalated.amount) == ("needs_response", 6_000)
    assert [one.amount for one in escalated.balance_transactions] == [-6_000]
    assert escalated.payment_method_details.card.case_type == "chargeback"
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        await stripe_api.v1.refunds.create_async({"payment_intent": intent.id})
    assert refusal.value.code == "charge_disputed"


async def test_a_refund_on_its_way_comes_back_when_the_charge_is_disputed(stripe_api):
    intent = await stripe_api.pay("pm_usBankAccount_processing")
    await stripe_api.control("POST", f"payment_intents/{intent.id}/settle")
    refund = await stripe_api.v1.refunds.create_async({"payment_intent": intent.id, "amount": 3_000})
    assert refund.status == "pending"
    dispute = await stripe_api.control(
        "POST", f"charges/{intent.latest_charge}/dispute", reason="debit_not_authorized"
    )
    back = await stripe_api.v1.refunds.retrieve_async(refund.id)
    assert (back.status, back.failure_reason) == ("failed", "charge_for_pending_refund_disputed")
    assert (dispute["amount"], dispute["payment_method_details"]) == (10_000, None)
    assert missing(dispute) == []


async def test_a_bank_may_decide_again(stripe_api):
    intent = await stripe_api.pay()
    before = (await balance_of(stripe_api))["usd"]
    opened_ = await stripe_api.control(
        "POST", f"charges/{intent.latest_charge}/dispute", reason="duplicate", amount=2_500
    )
    assert (opened_["amount"], opened_["network_reason_code"]) == (2_500, "12.6.1")
    for outcome, balance in (("lost", -4_000), ("won", -1_500), ("lost", -4_000)):
        decided = await stripe_api.control("POST", f"disputes/{opened_['id']}/decide", outcome=outcome)
        assert decided["status"] == outcome
        assert (await balance_of(stripe_api))["usd"] == before + balance
    decided = (await stripe_api.v1.disputes.retrieve_async(opened_["id"])).to_dict()
    assert [one["amount"] for one in decided["balance_transactions"]] == [-2_500, 2_500, -2_500]
    assert [one["fee"] for one in decided["balance_transactions"]] == [1_500, 0, 0]
    status, _ = await stripe_api.refused_control("POST", f"disputes/{opened_['id']}/decide", outcome="warning_closed")
    assert status == 400


async def test_a_dispute_that_was_prevented_costs_no_fee(stripe_api):
    intent = await stripe_api.pay()
    before = (await balance_of(stripe_api))["usd"]
    prevented = await stripe_api.control("POST", f"charges/{intent.latest_charge}/dispute", status="prevented")
    assert (prevented["status"], prevented["payment_method_details"]["card"]["case_type"]) == (
        "prevented",
        "resolution",
    )
    assert (await balance_of(stripe_api))["usd"] == before - 10_000
    other = await stripe_api.pay()
    dispute = await stripe_api.control("POST", f"charges/{other.latest_charge}/dispute")
    await stripe_api.control("POST", f"disputes/{dispute['id']}/decide", outcome="prevented")
    assert (await balance_of(stripe_api))["usd"] == before - 10_000 + 9_680 - 10_000


async def test_a_charge_can_be_disputed_more_than_once_and_never_beyond_its_amount(stripe_api, listener):
    intent, _ = await disputed(stripe_api, listener, "pm_card_createMultipleDisputes", amount=10_001)
    disputes = (await stripe_api.v1.disputes.list_async({"payment_intent": intent.id})).data
    assert sorted(one.amount for one in disputes) == [5_000, 5_001]
    assert {one.reason for one in disputes} == {"fraudulent", "product_not_received"}
    status, message = await stripe_api.refused_control("POST", f"charges/{intent.latest_charge}/dispute", amount=1)
    assert (status, "cannot be disputed" in message) == (400, True)


async def test_a_destination_charges_dispute_is_the_platforms_and_reverses_nothing_by_itself(stripe_api, listener):
    host = await stripe_api.host()
    intent, dispute = await disputed(
        stripe_api, listener, transfer_data={"destination": host}, application_fee_amount=1_000
    )
    charge = await stripe_api.v1.charges.retrieve_async(intent.latest_charge, {"expand": ["transfer"]})
    assert dispute.charge == charge.id
    assert charge.transfer.amount_reversed == 0
    assert (await balance_of(stripe_api, host))["usd"] == 9_000
    reversal = await stripe_api.v1.transfers.reversals.create_async(
        charge.transfer.id, {"amount": 10_000, "refund_application_fee": True}
    )
    assert reversal.amount == 10_000
    assert (await balance_of(stripe_api, host))["usd"] == 0
    assert (await stripe_api.v1.disputes.list_async({}, {"stripe_account": host})).data == []


async def test_another_currencys_dispute_takes_what_was_settled(stripe_api):
    intent = await stripe_api.pay(amount=9_999, currency="eur", expand=["latest_charge.balance_transaction"])
    settled = intent.latest_charge.balance_transaction.amount
    first = await stripe_api.control("POST", f"charges/{intent.latest_charge.id}/dispute", amount=3_333)
    rest = await stripe_api.control("POST", f"charges/{intent.latest_charge.id}/dispute")
    taken = [one["balance_transactions"][0] for one in (first, rest)]
    assert sum(one["amount"] for one in taken) == -settled
    assert {(one["currency"], one["exchange_rate"]) for one in taken} == {
        ("usd", intent.latest_charge.balance_transaction.exchange_rate)
    }
    assert (first["currency"], rest["amount"]) == ("eur", 6_666)


async def test_whom_the_bank_has_asked_itself_does_not_dispute_as_fraud(stripe_api, listener):
    await listen(stripe_api, listener)
    intent = await stripe_api.pay(
        "pm_card_createDispute", payment_method_options={"card": {"request_three_d_secure": "any"}}
    )
    await stripe_api.control("POST", f"payment_intents/{intent.id}/authenticate")
    other = await stripe_api.pay("pm_card_createDispute")
    await opened(stripe_api, listener, other.latest_charge)
    assert (await stripe_api.v1.disputes.list_async({"payment_intent": intent.id})).data == []


async def test_an_authorization_is_disputed_only_once_it_is_captured(stripe_api, listener):
    await listen(stripe_api, listener)
    intent = await stripe_api.pay("pm_card_createDispute", capture_method="manual")
    assert (await stripe_api.v1.disputes.list_async({"charge": intent.latest_charge})).data == []
    await stripe_api.v1.payment_intents.capture_async(intent.id, {"amount_to_capture": 6_000})
    dispute = await opened(stripe_api, listener, intent.latest_charge)
    assert dispute.amount == 6_000


async def test_compelling_evidence_says_what_it_lacks(stripe_api, listener):
    _, dispute = await disputed(stripe_api, listener, "pm_card_createCe3EligibleDispute")
    assert dispute.enhanced_eligibility_types == ["visa_compelling_evidence_3"]
    lacks = dispute.evidence_details.enhanced_eligibility.visa_compelling_evidence_3
    assert (lacks.status, "missing_merchandise_or_services" in lacks.required_actions) == ("requires_action", True)
    same = {"customer_email_address": "a@example.com", "customer_purchase_ip": "192.0.2.1"}
    prior = [
        {"charge": (await stripe_api.pay()).latest_charge, "product_description": "A dive", **same} for _ in range(2)
    ]
    evidence = {
        "disputed_transaction": {"merchandise_or_services": "services", "product_description": "A dive", **same},
        "prior_undisputed_transactions": prior,
    }
    staged = await stripe_api.v1.disputes.update_async(
        dispute.id,
        {"evidence": {"enhanced_evidence": {"visa_compelling_evidence_3": evidence}}, "submit": False},
    )
    assert missing(staged.to_dict()) == []
    found = staged.evidence_details.enhanced_eligibility.visa_compelling_evidence_3
    assert (found.status, found.required_actions) == ("qualified", [])


async def test_a_compliance_dispute_is_answered_for_a_fee_that_a_win_gives_back(stripe_api, listener):
    _, dispute = await disputed(stripe_api, listener, "pm_card_createComplianceDispute")
    assert (dispute.reason, dispute.payment_method_details.card.case_type) == ("noncompliant", "compliance")
    before = (await balance_of(stripe_api))["usd"]
    with pytest.raises(stripe.InvalidRequestError, match="acknowledged"):
        await stripe_api.v1.disputes.update_async(dispute.id, {"evidence": {"uncategorized_text": "winning_evidence"}})
    assert (await balance_of(stripe_api))["usd"] == before
    evidence = {
        "uncategorized_text": "winning_evidence",
        "enhanced_evidence": {"visa_compliance": {"fee_acknowledged": True}},
    }
    await stripe_api.control("POST", "webhooks/flush")
    await stripe_api.v1.disputes.update_async(dispute.id, {"evidence": evidence})
    await listener.hear("charge.dispute.closed", id=dispute.id, status="won")
    assert (await balance_of(stripe_api))["usd"] == before + 10_000
    fees = (await stripe_api.v1.balance_transactions.list_async({"type": "stripe_fee", "limit": 2})).data
    assert [fee.amount for fee in fees] == [50_000, -50_000]


async def test_a_debit_that_is_disputed_is_lost_at_once(stripe_api, listener):
    _, dispute = await disputed(stripe_api, listener, "pm_usBankAccount_dispute")
    assert (dispute.status, dispute.reason) == ("lost", "debit_not_authorized")
    assert dispute.evidence_details.due_by == 0


async def test_an_early_fraud_warning_is_actionable_until_the_charge_is_given_back(stripe_api, listener):
    await listen(stripe_api, listener)
    intent = await stripe_api.pay("pm_card_createIssuerFraudRecord")
    await listener.hear("radar.early_fraud_warning.created", charge=intent.latest_charge)
    listed = await stripe_api.v1.radar.early_fraud_warnings.list_async({"payment_intent": intent.id})
    warning = listed.data[0]
    assert missing(warning.to_dict()) == []
    assert (warning.actionable, warning.fraud_type) == (True, "unauthorized_use_of_card")
    await stripe_api.v1.refunds.create_async({"payment_intent": intent.id, "amount": 100})
    assert (await stripe_api.v1.radar.early_fraud_warnings.retrieve_async(warning.id)).actionable
    await stripe_api.v1.refunds.create_async({"payment_intent": intent.id})
    settled = await stripe_api.v1.radar.early_fraud_warnings.retrieve_async(warning.id, {"expand": ["charge"]})
    assert (settled.actionable, settled.charge.refunded) == (False, True)
    types = [event.type for event in await stripe_api.events_of(warning.id)]
    assert types == ["radar.early_fraud_warning.created", "radar.early_fraud_warning.updated"]


async def test_a_dispute_settles_a_warning_too(stripe_api):
    intent = await stripe_api.pay()
    warning = await stripe_api.control(
        "POST", f"charges/{intent.latest_charge}/warn_of_fraud", fraud_type="made_with_stolen_card"
    )
    assert (warning["actionable"], warning["fraud_type"]) == (True, "made_with_stolen_card")
    await stripe_api.control("POST", f"charges/{intent.latest_charge}/dispute")
    assert not (await stripe_api.v1.radar.early_fraud_warnings.retrieve_async(warning["id"])).actionable
    status, _ = await stripe_api.refused_control(
        "POST", f"charges/{intent.latest_charge}/warn_of_fraud", fraud_type="bad_luck"
    )
    assert status == 400
