"""What upstreams answer when they do not answer, and what we write ourselves."""

import json

import pytest

from companion.errors import FAULTS, Kind, Party, Phase
from companion.protocol.errors import (
    MAX_BODY,
    MAX_MESSAGE,
    classify,
    classify_error,
    envelope,
    error_event,
    error_in,
    error_type,
    redact,
    tidy,
)

NOW = 1_800_000_000.0


def error(message: str, type: str = "invalid_request_error") -> bytes:
    return json.dumps({"type": "error", "error": {"type": type, "message": message}}, ensure_ascii=False).encode()


def kind(status: int, message: str = "no", type: str = "invalid_request_error") -> Kind:
    return classify(status, (), error(message, type), wall=NOW).kind


# === by the status


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (301, Kind.REDIRECT),
        (307, Kind.REDIRECT),
        (400, Kind.BAD_REQUEST),
        (401, Kind.UNAUTHORIZED),
        (402, Kind.PAYMENT),
        (403, Kind.FORBIDDEN),
        (404, Kind.NOT_FOUND),
        (405, Kind.NOT_FOUND),
        (408, Kind.TIMEOUT_STATUS),
        (409, Kind.CONFLICT),
        (410, Kind.NOT_FOUND),
        (413, Kind.TOO_LARGE),
        (415, Kind.BAD_REQUEST),
        (418, Kind.BAD_REQUEST),
        (422, Kind.BAD_REQUEST),
        (424, Kind.BAD_GATEWAY),
        (429, Kind.RATE_LIMITED),
        (451, Kind.FORBIDDEN),
        (500, Kind.SERVER_ERROR),
        (501, Kind.SERVER_ERROR),
        (502, Kind.BAD_GATEWAY),
        (503, Kind.UNAVAILABLE),
        (504, Kind.SERVER_ERROR),
        (520, Kind.BAD_GATEWAY),
        (522, Kind.SERVER_ERROR),
        (524, Kind.SERVER_ERROR),
        (529, Kind.OVERLOADED),
    ],
)
def test_the_status_tells_the_kind(status, expected):
    assert kind(status) is expected
    assert expected in FAULTS


def test_a_fault_keeps_what_the_upstream_said():
    headers = ((b"retry-after", b"7"), (b"request-id", b"req_1"))
    body = error("Overloaded", "overloaded_error")

    fault = classify(529, iter(headers), body, wall=NOW)

    assert (fault.party, fault.phase, fault.status) == (Party.UPSTREAM, Phase.HEADERS, 529)
    assert (fault.message, fault.error_type, fault.retry_after) == ("Overloaded", "overloaded_error", 7)
    assert fault.answer is not None
    assert (fault.answer.status, fault.answer.headers, fault.answer.body) == (529, headers, body)


def test_the_request_is_the_clients_the_rest_the_upstreams():
    assert classify(400, (), b"", wall=NOW).party is Party.CLIENT
    assert classify(413, (), b"", wall=NOW).party is Party.CLIENT
    assert classify(401, (), b"", wall=NOW).party is Party.UPSTREAM


def test_counting_tokens_is_something_that_one_need_not_know():
    for status in (404, 405, 501):
        assert classify(status, (), b"", wall=NOW, count_tokens=True).kind is Kind.NOT_THERE
    assert classify(400, (), b"", wall=NOW, count_tokens=True).kind is Kind.BAD_REQUEST


def test_a_body_without_end_is_kept_to_a_point():
    answer = classify(400, (), b"x" * (MAX_BODY + 1), wall=NOW).answer

    assert answer is not None
    assert len(answer.body) == MAX_BODY


# === by the wording


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade."),
        (400, "This organization has been disabled."),
        (400, "You have reached your specified API usage limits. You will regain access on 2026-04-01 at 00:00 UTC."),
        (400, "Access denied, please make sure your account is in good standing."),
        (400, "quota exhausted"),
        (400, "Your account has exceeded the quota"),
        (401, "Insufficient balance. Manage your billing here: https://example.test/billing"),
        (403, "The selected model requires paid balance. Your paid balance is insufficient."),
        (403, "Your account <x> is not active, organization <y> exceeded current quota, please check your plan"),
        (403, "Access denied due to overdue account"),
        (403, "用户额度不足, 剩余额度: $-0.000002"),
        (403, "This API method requires billing to be enabled."),
        (429, "Insufficient balance or no resource package. Please recharge."),
        (429, "余额不足或无可用资源包,请充值。"),
        (429, "您的账户已欠费,请充值后重试"),
        (429, "insufficient balance (1008)"),
        (429, "Your account org-4 <ak-f> is suspended due to insufficient balance, please recharge your account"),
        (429, "You exceeded your current quota, please check your plan and billing details."),
        (429, "您的 GLM Coding Plan 套餐已到期,暂无法使用"),
        (500, "insufficient balance (1008)"),
    ],
)
def test_a_spent_budget_is_payment_whatever_the_status(status, message):
    assert kind(status, message) is Kind.PAYMENT


def test_the_type_may_say_it_too():
    assert kind(429, "no", "insufficient_quota") is Kind.PAYMENT
    assert kind(429, "no", "exceeded_current_quota_error") is Kind.PAYMENT
    assert kind(400, "no", "Arrearage") is Kind.PAYMENT
    assert kind(401, "no", "CreditsError") is Kind.PAYMENT


@pytest.mark.parametrize(
    "message",
    [
        "This request would exceed your account's rate limit. Please try again later.",
        "Number of request tokens has exceeded your per-minute rate limit",
        "[1308][Usage limit reached for 5 hour. Your limit will reset at 2030-01-01 00:00:00]",
        "您当前使用该 API 的并发数过高,请降低并发,或联系客服增加限额",
        "Quota exceeded for quota metric 'Generate requests' per minute",
        "Too many tokens, please wait before trying again.",
    ],
)
def test_a_rate_is_no_budget(message):
    assert kind(429, message, "rate_limit_error") is Kind.RATE_LIMITED


def test_a_budget_that_comes_back_by_itself_is_a_rate():
    message = "You exceeded your current quota, please check your plan and billing details. Please retry in 34.07s."

    fault = classify(429, (), error(message), wall=NOW)

    assert (fault.kind, fault.retry_after) == (Kind.RATE_LIMITED, 34.07)


@pytest.mark.parametrize(
    "message",
    [
        "Model Not Exist",
        "The model `claude-x` does not exist or you do not have access to it.",
        "Unknown model: claude-x",
        "invalid model: glm-99",
        "model 'claude-opus-5' not found",
        "Model claude-x is not supported",
        "The requested model is not supported.",
        "The provided model identifier is invalid.",
        "openai/gpt-x is not a valid model ID",
        "The supported API model names are a or b, but you passed c.",
        "Model does not exist. Please check it carefully.",
        "模型不存在,请检查模型代码",
        "not supported model claude-x",
    ],
)
def test_a_400_that_names_an_unknown_model_is_a_404(message):
    assert kind(400, message) is Kind.NOT_FOUND


@pytest.mark.parametrize(
    "message",
    [
        "messages.1.role: Input should be 'user' or 'assistant'",
        'Unexpected role "system". The Messages API accepts a top-level `system` parameter, not an input message role',
        "capability_rejected: mid_conv_system",
        "capability_rejected: thinking_type:adaptive",
        "context_management: Extra inputs are not permitted",
        "output_config: Extra inputs are not permitted",
        "adaptive thinking is not supported on this model",
        "Setting an effort for this model is not supported",
        "Unexpected value(s) `context-1m` for the `anthropic-beta` header",
        "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
        "max_tokens: 128000 > 8192, which is the maximum allowed number of output tokens for claude-3-5-haiku",
        "prompt is too long: 210000 tokens > 200000 maximum",
        "This model's maximum context length is 131072 tokens",
        "This model does not support image input",
        "messages.1.content.0: Invalid `signature` in `thinking` block",
        "system.0: x-anthropic-billing-header is a reserved keyword",
        "thinking options type cannot be disabled when reasoning_effort is set",
        "tools.3.custom.name: get_billing_info is too long",
        "role 'system' is not supported",
        "角色信息不正确:system",
        "Invalid model parameters: temperature",
    ],
)
def test_a_400_that_the_client_heals_stays_a_400(message):
    assert kind(400, message) is Kind.BAD_REQUEST
    assert kind(422, message) is Kind.BAD_REQUEST


@pytest.mark.parametrize(
    ("status", "message", "type"),
    [
        (400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT"),
        (403, "Invalid API key", "permission_error"),
        (403, "no", "authentication_error"),
        (403, "no", "INVALID_API_KEY"),
        (403, "OAuth token has been revoked. Please obtain a new token.", "permission_error"),
        (403, "无效的令牌", "new_api_error"),
        (403, "身份验证失败", "1000"),
    ],
)
def test_a_credential_that_is_refused_is_a_401(status, message, type):
    assert kind(status, message, type) is Kind.UNAUTHORIZED


@pytest.mark.parametrize(
    "message",
    [
        "Your API key does not have permission to use the specified resource.",
        "Request not allowed",
        "Kimi For Coding is currently only available for Coding Agents such as Claude Code",
    ],
)
def test_a_403_that_is_about_something_else_leaves_the_credential_alone(message):
    assert kind(403, message, "permission_error") is Kind.FORBIDDEN


# === a model of its own


@pytest.mark.parametrize(
    ("status", "message", "named"),
    [
        (503, "No available channel for model glm-5 under group default", True),
        (503, "当前分组下对于模型 glm-5 无可用渠道", True),
        (529, "glm-5.", True),
        (503, "No available channel for model glm-5-air", False),
        (503, "No available channel for model glm-5.1", False),
        (503, "No available channel for model zai/glm-5", False),
        (503, "Service unavailable", False),
        (400, "glm-5 cannot do this", False),
        (401, "no access to glm-5", False),
    ],
)
def test_a_fault_is_one_models_only_where_the_upstream_says_so(status, message, named):
    fault = classify(status, (), error(message), wall=NOW, model="glm-5")

    assert fault.model == ("glm-5" if named else None)


# === errors with status 200


@pytest.mark.parametrize(
    ("type", "message", "expected"),
    [
        ("overloaded_error", "Overloaded", Kind.ERROR_IN_200),
        ("rate_limit_error", "slow down", Kind.ERROR_IN_200),
        ("api_error", "Internal server error", Kind.ERROR_IN_200),
        ("timeout_error", "late", Kind.ERROR_IN_200),
        (None, "upstream connect error", Kind.ERROR_IN_200),
        ("new_api_error", "no channel", Kind.ERROR_IN_200),
        ("invalid_request_error", "prompt is too long", Kind.REFUSAL_IN_200),
        ("request_too_large", "too large", Kind.REFUSAL_IN_200),
        ("invalid_request_error", "model x not found", Kind.NOT_FOUND),
        ("not_found_error", "model: x", Kind.NOT_FOUND),
        ("authentication_error", "invalid x-api-key", Kind.UNAUTHORIZED),
        ("permission_error", "Invalid API key", Kind.UNAUTHORIZED),
        ("permission_error", "not for you", Kind.FORBIDDEN),
        ("billing_error", "pay", Kind.PAYMENT),
        ("invalid_request_error", "Your credit balance is too low", Kind.PAYMENT),
        ("api_error", "insufficient balance (1008)", Kind.PAYMENT),
    ],
)
def test_an_error_with_200_is_told_by_its_type(type, message, expected):
    fault = classify_error(type, message)

    assert fault.kind is expected
    assert (fault.error_type, fault.message, fault.status) == (type, message, 200)
    assert fault.phase is Phase.FIRST_CONTENT
    assert (fault.party is Party.CLIENT) == (expected is Kind.REFUSAL_IN_200)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (error("Overloaded", "overloaded_error"), ("overloaded_error", "Overloaded")),
        (b'{"error":{"message":"no","code":429}}', ("429", "no")),
        (b'{"error":"no"}', (None, "no")),
        (b'{"code":500,"msg":"404 NOT_FOUND","success":false}', ("500", "404 NOT_FOUND")),
        (b'{"code":"1113","message":"no"}', ("1113", "no")),
        (b'{"base_resp":{"status_code":1008,"status_msg":"insufficient balance"}}', (None, "insufficient balance")),
        (b'{"type":"message","content":[],"error":null}', None),
        (b'{"type":"message","content":[],"error":"x"}', None),
        (b'{"data":[]}', None),
        (b"[]", None),
        (b"<html>", None),
        (b"", None),
    ],
)
def test_an_error_is_recognised_in_a_body(body, told):
    assert error_in(body) == told


# === messages


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (error("no"), "no"),
        (b'{"error":{"msg":"no"}}', "no"),
        (b'{"message":"no"}', "no"),
        (b'{"detail":[{"loc":["body"]}]}', '[{"loc": ["body"]}]'),
        (b'{"error":{"code":5},"message":"no"}', "no"),
        (b'"no"', "no"),
        (b"upstream connect error\r\nor disconnect", "upstream connect error or disconnect"),
        (b"<html><head><title>502 Bad\nGateway</title></head><body><h1>no</h1></body></html>", "502 Bad Gateway"),
        (b"<!DOCTYPE html><p>Not <b>here</b> &amp; now</p><script>x()</script>", "Not here & now"),
        (b"", "status 502"),
        (b"{}", "status 502"),
        (b"\xff\x00\x1b[31mred", "\ufffd [31mred"),
    ],
)
def test_the_message_is_one_safe_line(body, message):
    assert classify(502, (), body, wall=NOW).message == message


def test_a_long_message_is_cut():
    assert len(tidy("x" * 1000)) == MAX_MESSAGE
    assert tidy("x" * 1000).endswith("…")


# === redaction


def test_secrets_are_taken_out():
    assert redact("key SECRET-VALUE is bad", ["SECRET-VALUE"]) == "key [redacted] is bad"
    assert redact(b"key SECRET-VALUE is bad", ["SECRET-VALUE"]) == b"key [redacted] is bad"
    assert redact("short is a word", ["short"]) == "short is a word"


@pytest.mark.parametrize(
    "key",
    [
        "sk-ant-api03-AbCdEf123456",
        "ak-f817m9q3k3wi11gjwbgi",
        "AIzaSyA-1234567890abcdefghijklmnopqrstu",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3.c2lnbmF0dXJl",
    ],
)
def test_what_looks_like_a_key_is_taken_out_of_messages(key):
    assert redact(f"Incorrect API key: {key}.", ()) == "Incorrect API key: [redacted]."
    assert key not in classify(401, (), error(f"bad {key}"), wall=NOW).message


def test_bearer_tokens_are_taken_out():
    assert redact("got 'Bearer abcdefghijk'", ()) == "got 'Bearer [redacted]'"


def test_bodies_lose_known_secrets_only():
    assert redact(b"sk-ant-api03-AbCdEf123456", ()) == b"sk-ant-api03-AbCdEf123456"


def test_ordinary_words_stay():
    assert redact("ask-me-anything and sk-learn-pipeline", ()) == "ask-me-anything and sk-learn-pipeline"


# === our own


def test_the_envelope_is_anthropics():
    assert json.loads(envelope("api_error", "no \ud83d")) == {
        "type": "error",
        "error": {"type": "api_error", "message": "no \ud83d"},
    }
    assert json.loads(envelope("api_error", "no", "req_1"))["request_id"] == "req_1"


def test_the_error_event_is_one_frame():
    assert error_event("api_error", "no\nway") == (
        b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"no\\nway"}}\n\n'
    )


@pytest.mark.parametrize(
    ("status", "type"),
    [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (413, "request_too_large"),
        (422, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (503, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ],
)
def test_each_status_has_its_type(status, type):
    assert error_type(status) == type
