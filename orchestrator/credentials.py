"""Removes credentials from the addresses of tracking stores and data."""

from __future__ import annotations

import re

# SQLAlchemy reads everything up to the @ as the password, slashes included; elsewhere the first slash ends the host.
_USER_OF_DATABASE = re.compile(r"^([a-z0-9+.-]+://)[^:/@?#]*(?::[^@]*)?@", re.IGNORECASE)
_USER = re.compile(r"([a-z0-9+.-]+://)[^/?#\s@]*(?:@[^/?#\s@]*)*@", re.IGNORECASE)
_SECRET = re.compile(r"([?&][^=&\s]*(?:pass|pwd|secret|token|key|sig|cred)[^=&\s]*=)[^&\s]*", re.IGNORECASE)

HIDDEN = "***"
"""Replaces a credential."""


def without_credentials(text: str) -> str:
    """Replace user, password and secret query values by ``***``, in an address or a text that contains addresses.

    Example:
        >>> without_credentials("postgresql://me:secret@db/mlflow?sslmode=require&sslpassword=other")
        'postgresql://***@db/mlflow?sslmode=require&sslpassword=***'
    """
    if not text.lower().startswith(("http:", "https:", "sqlite:")):
        text = _USER_OF_DATABASE.sub(rf"\1{HIDDEN}@", text)
    return _SECRET.sub(rf"\1{HIDDEN}", _USER.sub(rf"\1{HIDDEN}@", text))


def without_user(uri: str) -> str:
    """Remove user and password from an address, so that it can be shown as a link."""
    return _USER.sub(r"\1", uri)
