"""The location of a source: what distinguishes it from all others in an output folder, without secrets."""

from __future__ import annotations

import hashlib
import os
import re
from urllib.parse import parse_qsl, urlsplit

from fairmot.core.text import without_credentials
from fairmot.video.sources import names_path
from fairmot.video.urls import is_url

# Parameters of a query, in small letters and without separators: of cameras, media servers and signed URLs (AWS,
# Google, Azure, CloudFront). Only those that can hardly mean a channel: a wrong one would make two sources the same.
_ACCESS_NAMES = frozenset({
    "auth", "exp", "expires", "hmac", "key", "keypairid", "login", "loginpas", "loginuse", "nonce", "otp", "pass",
    "pin", "psw", "pw", "sig", "user", "username", "usr",
})  # fmt: skip
_ACCESS_BEGINNINGS = ("xamz", "xgoog")
_ACCESS_ENDINGS = (
    "apikey", "accesskey", "authorization", "credential", "credentials", "jwt", "passphrase", "passwd", "password",
    "pwd", "secret", "sessionid", "signature", "token",
)  # fmt: skip


def location_of(source: str) -> str:
    """Return what distinguishes a source from all others: an absolute path, or a URL without secrets.

    User name and password are left out. Of the query, which may hold more secrets, remains a short digest, so that
    `?channel=1` and `?channel=2` are two sources.

    Example:
        location_of("rtsp://user:password@host/live")  # "rtsp://host/live"
    """
    if names_path(source):
        return os.path.realpath(source)  # of links in a circle too, where Path.resolve raises
    if not is_url(source):
        return source.partition("?")[0]
    try:
        digest = _query_digest(urlsplit(source).query)
        return without_credentials(source) + (f" (query {digest})" if digest else "")
    except ValueError:  # not a URL; opening it reports that
        return f"{source.partition('://')[0]}://"


def _query_digest(query: str) -> str:
    """Return a digest of the parameters of a query that choose what is shown, in any order; empty without any.

    What grants access does not choose, and changes from day to day in signed URLs. Eight digits distinguish the
    sources of an output folder, and are too few to guess anything long from.
    """
    chosen = sorted(pair for pair in parse_qsl(query, keep_blank_values=True) if not _grants_access(pair[0]))
    return hashlib.sha256(repr(chosen).encode("utf-8", "surrogatepass")).hexdigest()[:8] if chosen else ""


def _grants_access(parameter: str) -> bool:
    name = re.sub(r"[^a-z0-9]", "", parameter.lower())
    return name in _ACCESS_NAMES or name.startswith(_ACCESS_BEGINNINGS) or name.endswith(_ACCESS_ENDINGS)
