"""Taking secrets out of a configuration before it is shown or sent.

A key is dropped by its name (`api_key`, `hf_token`, `password`), a value by its look (`sk-…`, `hf_…`, a URL with
a password in it). Names that only say where a secret is kept (`api_key_env`) and counts of tokens stay. This is a
second lock: the recipes ask for the name of an environment variable and never for a key.
"""

from __future__ import annotations

import re

from pydantic import JsonValue

REMOVED = "[removed]"

_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+")
_ALWAYS = frozenset({"secret", "secrets", "password", "passwd", "passphrase", "credential", "credentials"})
_ALWAYS_TOO = frozenset({"authorization", "bearer", "cookie", "cookies", "apikey"})
_KEY_OWNERS = frozenset({"api", "access", "private", "secret", "auth", "wandb", "openai", "hf", "signing", "ssh"})
_TEXT_TOKENS = frozenset({"pad", "eos", "bos", "unk", "sep", "cls", "mask", "stop", "image", "special", "per"})
_LOOKS_SECRET = re.compile(
    r"\b(?:sk-[\w-]{16,}|hf_[A-Za-z0-9]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,}|AKIA[0-9A-Z]{16}"
    r"|xox[baprs]-[\w-]{10,}|wandb_v1_\w{20,})|\bBearer\s+\S{8,}|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
_URL_LOGIN = re.compile(r"(?P<scheme>\b[a-z][a-z0-9+.-]*://)[^\s/@]+@", re.IGNORECASE)
_URL_QUERY = re.compile(r"(?P<name>[?&][\w-]*(?:key|token|secret|password|sig|signature)=)[^&#\s]+", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    """Whether a key's name says that its value is a secret."""
    words = [word.lower() for word in _WORDS.findall(name)]
    if not words or words[-1] in {"env", "variable", "file", "path", "id", "ids", "name"}:
        return False
    if (_ALWAYS | _ALWAYS_TOO) & set(words):
        return True
    owner = words[-2] if len(words) > 1 else None
    if words[-1] in {"key", "keys"}:
        return owner in _KEY_OWNERS
    return words[-1] == "token" and (owner is None or owner not in _TEXT_TOKENS)


def redact_text(text: str) -> str:
    """The text without what looks like a key, a token, or a login in a URL."""
    text = _LOOKS_SECRET.sub(REMOVED, text)
    text = _URL_LOGIN.sub(rf"\g<scheme>{REMOVED}@", text)
    return _URL_QUERY.sub(rf"\g<name>{REMOVED}", text)


def redact(value: JsonValue) -> JsonValue:
    """A copy of a JSON value without keys that name a secret, and with secrets inside strings replaced."""
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, list):
        return [redact(item) for item in value]
    if isinstance(value, dict):
        return {key: redact(item) for key, item in value.items() if not is_secret_name(key)}
    return value
