"""Addresses of tracking stores and data, without the credentials that may stand in them."""

from __future__ import annotations

import re

# SQLAlchemy takes everything up to the @ as the password, a slash too; elsewhere the first slash ends the host.
_USER_OF_DATABASE = re.compile(r"^([a-z0-9+.-]+://)[^:/@?#]*(?::[^@]*)?@", re.IGNORECASE)
_USER = re.compile(r"([a-z0-9+.-]+://)[^/?#\s@]*(?:@[^/?#\s@]*)*@", re.IGNORECASE)
_SECRET = re.compile(r"([?&][^=&\s]*(?:pass|pwd|secret|token|key|sig|cred)[^=&\s]*=)[^&\s]*", re.IGNORECASE)

HIDDEN = "***"
"""What stands where a credential stood."""


def without_credentials(text: str) -> str:
    """An address, or a text with addresses in it, with user, password and secret query values replaced by ``***``.

    Example:
        >>> without_credentials("postgresql://me:secret@db/mlflow?sslmode=require&sslpassword=other")
        'postgresql://***@db/mlflow?sslmode=require&sslpassword=***'
    """
    if not text.lower().startswith(("http:", "https:", "sqlite:")):
        text = _USER_OF_DATABASE.sub(rf"\1{HIDDEN}@", text)
    return _SECRET.sub(rf"\1{HIDDEN}", _USER.sub(rf"\1{HIDDEN}@", text))


def without_user(uri: str) -> str:
    """An address that can be opened in a browser without telling who opened it before."""
    return _USER.sub(r"\1", uri)
