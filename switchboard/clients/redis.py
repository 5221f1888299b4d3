"""Connections to Redis or Valkey, with a bound on every wait."""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

CONNECT_TIMEOUT_S = 3
SOCKET_TIMEOUT_S = 5
HEALTH_CHECK_S = 30
RETRIES = 1


def connect_redis(url: str, *, self_signed: bool = False) -> redis.Redis:
    """A client of `url` (redis://, rediss:// or unix://); it connects at its first command.

    A command fails with redis.RedisError after at most two tries, each of 3 s to connect and 5 s to be answered.
    `self_signed` accepts any certificate of a rediss:// server. Safe to share between threads, and after a fork.
    """
    return redis.Redis.from_url(
        url,
        decode_responses=True,
        socket_connect_timeout=CONNECT_TIMEOUT_S,
        socket_timeout=SOCKET_TIMEOUT_S,
        health_check_interval=HEALTH_CHECK_S,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.1), RETRIES),
        **tls_options(url, self_signed=self_signed),
    )


def tls_options(url: str, *, self_signed: bool) -> dict[str, Any]:
    """What redis-py needs to know of the certificate; empty for a URL without TLS."""
    if urlsplit(url).scheme != "rediss":
        return {}
    if self_signed:
        return {"ssl_cert_reqs": ssl.CERT_NONE, "ssl_check_hostname": False}
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
