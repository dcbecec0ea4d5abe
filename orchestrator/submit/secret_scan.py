"""Finds secrets in the files of a job before they are sent to a cluster."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

ALLOWED = b"pragma: allowlist secret"
"""Comment that marks a line as harmless, as other scanners read it too."""

_NAMES = (
    ".env", ".env.*", "*.env", ".netrc", ".pgpass", ".pypirc", ".npmrc", ".git-credentials", "credentials",
    "auth_token", "kubeconfig", "*.kubeconfig", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.ppk",
    "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", "*service-account*.json", "*service_account*.json",
    "client_secret*.json",
)  # fmt: skip
_HARMLESS_NAMES = (".env.example", ".env.sample", ".env.template", "*.pub")

_PATTERNS: Mapping[str, re.Pattern[bytes]] = {
    "a private key": re.compile(rb"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----\s*[A-Za-z0-9+/=:]"),
    "an AWS access key": re.compile(rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "an AWS secret key": re.compile(rb"(?i)aws_?secret_?access_?key[\"']?\s*[=:]\s*[\"']?[A-Za-z0-9/+]{40}\b"),
    "a Google API key": re.compile(rb"\bAIza[0-9A-Za-z_-]{35}\b"),
    "a GitHub token": re.compile(rb"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_[A-Za-z0-9_]{50,})"),
    "a GitLab token": re.compile(rb"\bglpat-[A-Za-z0-9_-]{20,}"),
    "a Hugging Face token": re.compile(rb"\bhf_[A-Za-z0-9]{30,}\b"),
    "a Slack token": re.compile(rb"\bxox[abeoprs]-[A-Za-z0-9-]{10,}"),
    "an API key": re.compile(rb"\bsk-(?:[a-z]+-)?[A-Za-z0-9_-]{32,}"),
    "a web token": re.compile(rb"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    "a bearer token": re.compile(rb"(?i)\bauthorization[\"']?\s*[=:]\s*[\"']?bearer\s+[A-Za-z0-9._~+/-]{16,}"),
    "a secret value": re.compile(
        rb"(?i)(?:^|[\s\"'{,_-])(?:password|passwd|secret|secret_key|api_?key|access_?token|auth_?token)[\"']?\s*[=:]\s*"
        rb"(?:[\"'](?=[^\"'\s]*[0-9])[^\"'\s${}<>]{12,}[\"']|(?=[^\s]*[0-9])[A-Za-z0-9+/_.=-]{20,}\s*$)",
        re.MULTILINE,
    ),
    "an address with a password": re.compile(
        rb"\b[a-z][a-z0-9+.-]*://[^\s/:@\"'{}<>$]+:(?!(?:secret|password|passwd|pass|pw|\*+|x+)@)[^\s/@\"'{}<>$]{3,}@[A-Za-z0-9]"
    ),
}

_VARIABLE = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_KEY|PRIVATE_KEY|CREDENTIAL", re.IGNORECASE)
_SHORTEST = 12


def known_secrets(environment: Mapping[str, str] | None = None) -> dict[str, bytes]:
    """Return the secrets in this process's environment, variable → value; a variable may name a token's file."""
    variables = os.environ if environment is None else environment
    found = {}
    for name, value in variables.items():
        if not _VARIABLE.search(name):
            continue
        if value.startswith(("/", "~", ".")) and (path := Path(value).expanduser()).is_file():
            try:
                value = path.read_text(errors="replace").strip()
            except OSError:
                continue
            if "\n" in value:  # a file of several keys, which the patterns find
                continue
        if len(value) >= _SHORTEST and not value.startswith(("/", "~")):
            found[name] = value.encode()
    return found


def find_secret(path: str, content: bytes, known: Mapping[str, bytes]) -> str | None:
    """Describe the secret that a file holds, without repeating it; ``None`` when there is none.

    Args:
        path: The file's path in the package.
        content: Its bytes.
        known: Secrets by the name of the environment variable that holds them.

    Example:
        >>> find_secret("conf/.env", b"", {})
        'has the name of a file of secrets'
    """
    name = PurePosixPath(path).name.lower()
    if any(fnmatch(name, pattern) for pattern in _NAMES) and not any(fnmatch(name, p) for p in _HARMLESS_NAMES):
        return "has the name of a file of secrets"
    for variable, value in known.items():
        if value in content:
            return f"holds the value of the environment variable {variable}"
    for what, pattern in _PATTERNS.items():
        for match in pattern.finditer(content):
            begin = content.rfind(b"\n", 0, match.start()) + 1
            end = content.find(b"\n", match.end())
            if ALLOWED not in content[begin : end if end >= 0 else len(content)]:
                first = match.start() + len(match.group()) - len(match.group().lstrip())
                line = 1 + content.count(b"\n", 0, first)
                return f"seems to hold {what} (line {line})"
    return None
