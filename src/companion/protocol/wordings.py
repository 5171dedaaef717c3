"""What upstreams write when they mean something else than their status says.

The patterns were collected from real answers, English and Chinese. They are narrow on purpose: a wrong "no budget"
takes a good credential out for a quarter of an hour, a missed one only costs a try. Ordinary refusals whose wording
heals the client, such as `adaptive thinking is not supported on this model`, must match none of them.
"""

import re
from typing import Final


def _any(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns), re.IGNORECASE)


PAYMENT: Final = _any(
    r"credit balance",
    r"insufficient[ _-](?:account[ _-])?(?:balance|credits?|funds|quota)",
    r"\b(?:balance|credits?|funds) (?:is |are |was )?(?:too low|insufficient|not enough|exhausted|depleted|used up)",
    r"\b(?:not enough|no more|no remaining|out of) (?:account )?(?:credits?|balance|funds)\b",
    r"\brequires? (?:more|paid|a paid) (?:credits?|balance)\b",
    r"\bpayment[ _]required\b",
    r"\bCreditsError\b",
    r"\bbilling_(?:error|not_active|hard_limit\w*)",
    r"\bbilling (?:account|details|issue|problem|error|to be enabled|(?:hard )?limit|is |has |was )",
    r"(?:&|\band) billing\b",
    r"\barrearage\b|\bin good standing\b|\boverdue[ -](?:payment|account|balance)",
    r"\bexceeded (?:your |its |the )?current quota|exceeded_current_quota|insufficient_quota",
    r"\bspend(?:ing)? limit\b|\bspecified (?:API )?usage limits?\b",
    r"\bno resource package\b",
    r"\b(?:subscription|plan|package|membership) (?:has |is |was )?expired",
    r"\b(?:organi[sz]ation|account|workspace) (?:has been|is|was) "
    r"(?:disabled|suspended|deactivated|locked|inactive|not active)",
    r"(?:余额|额度)(?:不足|已?用[尽完]|已耗尽)",
    r"欠费|请充值|无可用资源包|套餐已(?:到期|过期|用[尽完])|账户已被?(?:锁定|停用|冻结)",
)

# Said of a spent budget by some, of a rate by others: it counts only where the status does not speak of rates.
QUOTA: Final = _any(
    r"\bquota (?:has been |is |was )?(?:exceeded|exhausted)|\b(?:exceeded|exhausted) (?:\w+ ){0,2}quota"
)

API_KEY: Final = _any(
    r"\b(?:invalid|incorrect|expired|revoked|wrong|unknown|missing|no)[ _-](?:x-)?api[ _-]?key",
    r"\bapi[ _-]?key (?:is |was |has been )?(?:invalid|incorrect|expired|revoked|disabled|missing|not valid|not found)",
    r"\bapi_key_invalid\b",
)

CREDENTIAL: Final = _any(
    r"\bauthentication[ _](?:error|fail\w*|required)|\bfailed to authenticate|\bnot authenticated|\bunauthori[sz]ed\b",
    r"\b(?:invalid|incorrect|expired|revoked|unknown) (?:\w+ ){0,2}(?:token|credentials?|authori[sz]ation)\b",
    r"\b(?:token|credentials?) (?:is |are |was |has been |have been )?(?:invalid|incorrect|expired|revoked|not valid)",
    r"令牌(?:无效|已过期|不可用|状态不可用)|无效的令牌|密钥(?:无效|错误)|(?:身份验证|鉴权|认证)失败",
)

_OF_A_MODEL: Final = "".join(
    f"(?<!{word} {which} )" for word in ("for", "on", "with", "by") for which in ("this", "the")
)
_NAME: Final = r"""(?:\s+(?:id|name|with id))?[\s:]*[`'"\u201c\u2018\[(]?[\w./:@+-]*[`'"\u201d\u2019\])]?,?"""

UNKNOWN_MODEL: Final = _any(
    r"\b(?:unknown|unsupported|no such|nonexistent) model\b",
    r"\binvalid model\b(?! (?:param|config|input|output|response))",
    r"\bmodel_not_(?:found|supported|available|exist)",
    r"\bnot supported model\b|\bnot a valid model\b|\bsupported (?:API )?model names? (?:are|is)\b",
    r"\bmodel (?:identifier|id|name) is (?:invalid|not valid|unknown)",
    _OF_A_MODEL
    + r"\bmodel\b"
    + _NAME
    + r"\s*(?:is |was |does |could )?(?:not |n't )(?:be )?(?:found|exist|supported|available|recogni[sz]ed)",
    r"模型.{0,60}(?:不存在|未找到|已下线|已下架)|不支持的模型|未知模型",
)


def names(message: str, model: str | None) -> bool:
    """Whether a message speaks of exactly this model, not of one whose name only begins the same way."""
    if not model or model not in message:
        return False
    return re.search(rf"(?<![\w./-]){re.escape(model)}(?![\w-]|[./:]\w)", message) is not None
