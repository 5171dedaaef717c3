"""Repairs: an upstream refuses a request in words that the client cannot heal, so a splice does what they ask for."""

from typing import Final

NAMES: Final = (
    "system_role",
    "context_management",
    "effort",
    "adaptive_thinking",
    "thinking_signature",
    "thinking_budget",
    "max_tokens",
    "images",
    "tool_properties",
)
"""The names of all repairs, as the configuration and the records have them."""
