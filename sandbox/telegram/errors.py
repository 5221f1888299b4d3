"""Refusals as the server writes them: `rpc_error error_code:int error_message:string` (core.telegram.org/api/errors).

The codes come from Telethon's own table, so that no name can be invented here; the few the vendor documents and that
table lacks stand in `VENDOR_ONLY`.
"""

from __future__ import annotations

import re

from telethon.errors import rpcerrorlist

# core.telegram.org/method/messages.sendMessage lists it; Telethon 1.45 raises a plain ForbiddenError for it.
VENDOR_ONLY = {"PRIVACY_PREMIUM_REQUIRED": 403}
UNAUTHORIZED = 401


class RpcError(Exception):
    """A request is refused; `name` is what clients match on, `code` is its HTTP-like class."""

    def __init__(self, code: int, name: str) -> None:
        super().__init__(f"{code} {name}")
        self.code = code
        self.name = name


def code_of(name: str) -> int:
    """The code of an error by its name, with any number in it (`FLOOD_WAIT_30`); raises KeyError for an unknown one."""
    if name in VENDOR_ONLY:
        return VENDOR_ONLY[name]
    known = rpcerrorlist.rpc_errors_dict.get(name)
    if known is not None:
        return int(known(request=None).code)
    for pattern, kind in rpcerrorlist.rpc_errors_re:
        if re.fullmatch(pattern, name):
            return int(kind(request=None, capture=0).code)
    raise KeyError(name)


def refused(name: str) -> RpcError:
    """The error to raise in a handler."""
    return RpcError(code_of(name), name)
