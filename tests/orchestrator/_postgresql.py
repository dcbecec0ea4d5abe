"""A PostgreSQL of the test's own, where Debian's or anybody's package of it is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ._server import free_port

OWNER = "postgres"
"""Who runs it when the tests are run by root, which PostgreSQL refuses to be run by."""


def programs() -> Path | None:
    """Where ``initdb`` and ``postgres`` are."""
    found = shutil.which("initdb")
    places = [
        *sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True),
        *([Path(found).parent] if found else []),
    ]
    return next((place for place in places if (place / "initdb").exists() and (place / "postgres").exists()), None)


def why_not() -> str | None:
    """Why there can be none here."""
    if programs() is None:
        return "PostgreSQL is not installed (apt-get install postgresql)"
    if os.geteuid() == 0 and OWNER not in {user.pw_name for user in pwd.getpwall()}:
        return f"PostgreSQL is not run by root, and there is no user {OWNER!r} to run it"
    return None


@contextmanager
def postgresql(user: str, password: str, database: str) -> Iterator[int]:
    """A server on loopback that asks for the password; yields its port."""
    binaries = programs()
    assert binaries is not None
    owner: dict[str, Any] = {"user": OWNER, "group": OWNER, "extra_groups": []} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="nmt-postgresql-", dir="/tmp"))
    port = free_port()
    try:
        (folder / "password").write_text(password)
        if owner:
            for path in (folder, folder / "password"):
                shutil.chown(path, OWNER, OWNER)
        common: dict[str, Any] = {"cwd": folder, "stdout": subprocess.DEVNULL, **owner}
        initdb = [str(binaries / "initdb"), "--pgdata=data", f"--username={user}", "--auth=scram-sha-256"]
        subprocess.run([*initdb, "--pwfile=password", "--no-sync"], check=True, **common)
        command = [str(binaries / "postgres"), "-D", "data", "-p", str(port), "-k", str(folder)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", "fsync=off"]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(command, **{**common, "stderr": log})
        try:
            _create(database, port, user, password, server, folder / "log")
            yield port
        finally:
            server.send_signal(signal.SIGINT)  # disconnects its clients, then ends
            server.wait(60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _create(database: str, port: int, user: str, password: str, server: subprocess.Popen[bytes], log: Path) -> None:
    import psycopg

    end = time.monotonic() + 60
    while True:
        try:
            connection = psycopg.connect(
                host="127.0.0.1", port=port, user=user, password=password, dbname="postgres", autocommit=True
            )
            break
        except psycopg.OperationalError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.1)
    with connection:
        connection.execute(f'CREATE DATABASE "{database}"')
