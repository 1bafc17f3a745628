"""The transactional pipeline of docs/postgresql.md runs as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg

TEXT = (Path(__file__).parent.parent.parent / "docs" / "postgresql.md").read_text()


def test_the_orders_are_booked_once(tmp_path: Path, postgres: str) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    (tmp_path / "orders.py").write_text(code)
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("create table bookings (id serial primary key, item text, cost float)")
        environment = {
            **os.environ,
            "HOLDFAST_WORKERS": "1",
            "HOLDFAST_HOME": str(tmp_path / "home"),
            "HOLDFAST_LEDGER": postgres,
        }
        command = [sys.executable, "-m", "holdfast", "run", "orders.py:order", '"spoon"', '"fork"']
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert connection.execute("select item, cost from bookings order by item").fetchall() == [
            ("fork", 6.0),
            ("spoon", 7.5),
        ]
