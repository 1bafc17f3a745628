"""Events over a real NATS server: kept before they are acknowledged, handed on until the broker has
them, absorbed when they come twice."""

from __future__ import annotations

import asyncio
import hashlib
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nats as nats_client
import pytest
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
)

from holdfast import App, InputError
from holdfast.buses.nats import NatsBus
from holdfast.cli.export import output_of
from holdfast.errors import BusError, StreamRefusedError
from tests.pattern_samples import Claim, awaiting, hearing, telling

pytestmark = pytest.mark.slow

CLOUD = {"specversion": "1.0", "source": "elsewhere", "type": "payment.received"}


class Server:
    """A NATS server with JetStream, in a folder."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._command = [
            str(Path(sys.executable).with_name("nats-server")),
            "-js",
            "-a",
            "127.0.0.1",
            "-p",
            str(self.port),
            "-sd",
            str(folder),
        ]
        self.url = f"nats://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        pause = threading.Event()
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            pause.wait(0.05)
        raise AssertionError("the server does not start")

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path / "nats")
    yield server
    server.stop()


async def send(url: str, *messages: bytes) -> None:
    bus = NatsBus(url, "a-producer")
    await bus.start(_nothing)
    for number, message in enumerate(messages):
        await bus.publish("payment.received", f"{hash(message)} {number}", message)
    await bus.close()


async def _nothing(message: bytes) -> None:
    return None


def test_what_is_emitted_here_is_heard_by_another_ledger(nats: Server, tmp_path: Path) -> None:
    here = App(home=tmp_path / "here", ledger="", workers=1, bus=nats.url)
    there = App(home=tmp_path / "there", ledger="", workers=1, bus=nats.url)
    there.run([hearing])
    here.run([telling], [(telling, Claim("x", 50))])
    _until(there, [hearing], lambda: bool(there.reads().items("hearing", "completed", 9)))
    (item,) = there.reads().items("hearing", None, 9)
    told = json.loads(
        output_of(there.reads().item(there.reads().item_by_key("x") or 0)["output"], there.store())
    )
    (sender,) = here.reads().items("telling", None, 9)
    assert told.split()[1] == sender["item"], "the correlation came along"
    assert item["key"] == "x"
    assert [row["outgoing"] for row in here.reads().events(None, None, 9)] == [False], (
        "the broker has it"
    )


def test_a_message_from_elsewhere_wakes_a_waiting_task_once(nats: Server, tmp_path: Path) -> None:
    app = App(home=tmp_path / "home", ledger="", workers=1, bus=nats.url)
    app.run([awaiting], [(awaiting, Claim("a"))])
    message = json.dumps(
        {**CLOUD, "id": "1", "subject": "a", "data": {"claim": "a", "amount": 3}}
    ).encode()
    asyncio.run(send(nats.url, message, message, b"no event at all"))
    _until(
        app,
        [awaiting],
        lambda: (
            bool(app.reads().items("awaiting", "completed", 9))
            and len(app.reads().events(None, None, 9)) == 2
        ),
    )
    kinds = {row["type"] for row in app.reads().events(None, None, 9)}
    assert kinds == {"payment.received", "holdfast.malformed"}, (
        "twice the same is one event; what is none is kept as that"
    )


@pytest.mark.parametrize("crash", ["before the commit", "between commit and acknowledgement"])
def test_a_crash_between_intake_and_acknowledgement_loses_and_doubles_nothing(
    nats: Server, tmp_path: Path, crash: str
) -> None:
    app = App(home=tmp_path / "home", ledger="", workers=1)
    ledger = app.open_ledger()
    seen: list[bytes] = []

    async def scenario() -> None:
        from holdfast.model.events import opened

        done = asyncio.Event()

        async def received(message: bytes) -> None:
            seen.append(message)
            if len(seen) == 1 and crash.startswith("before"):
                raise RuntimeError("crashed")
            ledger.mail.publish([opened(message, 0)])
            if len(seen) == 1:
                raise RuntimeError("crashed")
            done.set()

        bus = NatsBus(nats.url, "a-ledger")
        await bus.start(received)
        await send(nats.url, json.dumps({**CLOUD, "id": "7", "data": 1}).encode())
        await asyncio.wait_for(done.wait(), 20)
        await bus.close()

    asyncio.run(scenario())
    ledger.close()
    assert len(seen) == 2, "it was delivered again"
    assert len(app.reads().events(None, None, 9)) == 1


def test_events_wait_in_the_ledger_while_the_broker_is_away(nats: Server, tmp_path: Path) -> None:
    nats.stop()
    app = App(home=tmp_path / "home", ledger="", workers=1, bus=nats.url)
    app.run([telling], [(telling, Claim("x", 50))])
    assert app.reads().status()[0]["completed"] == 1, "no item waits for a broker"
    assert app.reads().events(None, None, 9)[0]["outgoing"]
    nats.start()
    _until(app, [telling], lambda: not app.reads().events(None, None, 9)[0]["outgoing"])


def test_a_relay_that_dies_after_it_has_sent_sends_again_and_the_reader_absorbs_it(
    nats: Server, tmp_path: Path
) -> None:
    app = App(home=tmp_path / "home", ledger="", workers=1, bus=nats.url)
    nats.stop()
    app.run([telling], [(telling, Claim("x", 50))])
    nats.start()
    _until(app, [telling], lambda: not app.reads().events(None, None, 9)[0]["outgoing"])
    ledger: Any = app.open_ledger()
    # as if it had died before it noted that the broker has them
    ledger.connection.execute("update events set outgoing = 1")
    ledger.close()
    there = App(home=tmp_path / "there", ledger="", workers=1, bus=nats.url)
    _until(app, [telling], lambda: not app.reads().events(None, None, 9)[0]["outgoing"])
    there.run([hearing])
    _until(there, [hearing], lambda: bool(there.reads().items("hearing", "completed", 9)))
    assert len(there.reads().events(None, None, 9)) == 1


LIMITS: dict[str, dict[str, Any]] = {
    "max_age": {"max_age": 3600.0},
    "max_msgs": {"max_msgs": 10},
    "max_bytes": {"max_bytes": 100_000},
    "max_msgs_per_subject": {"max_msgs_per_subject": 1},
    "retention is interest": {"retention": RetentionPolicy.INTEREST},
    "storage is memory": {"storage": StorageType.MEMORY},
    "no_ack": {"no_ack": True},
    "its subjects": {"subjects": ["holdfast.only.these"]},
}


async def make_stream(url: str, **given: Any) -> StreamConfig:
    """Make the stream as somebody else has set it; returns what it is then."""
    connection = await nats_client.connect(url)
    streams = connection.jetstream()
    await streams.add_stream(StreamConfig("HOLDFAST", **{"subjects": ["holdfast.>"], **given}))
    found = (await streams.stream_info("HOLDFAST")).config
    await connection.close()
    return found


async def stream_of(url: str) -> StreamConfig:
    connection = await nats_client.connect(url)
    found = (await connection.jetstream().stream_info("HOLDFAST")).config
    await connection.close()
    return found


@pytest.mark.parametrize("limit", LIMITS)
def test_a_stream_that_would_discard_unread_messages_is_refused_at_start_and_left_as_it_is(
    nats: Server, tmp_path: Path, limit: str
) -> None:
    made = asyncio.run(make_stream(nats.url, **LIMITS[limit]))
    app = App(home=tmp_path / "home", ledger="", workers=1, bus=nats.url)
    with pytest.raises(StreamRefusedError, match=limit) as refused:
        app.run([telling], (), False)
    assert isinstance(refused.value, InputError), "exit code 2"
    assert "set" in str(refused.value)
    assert asyncio.run(stream_of(nats.url)) == made


@pytest.mark.parametrize(
    "given",
    [{"max_msgs": 10, "discard": DiscardPolicy.NEW}, {"retention": RetentionPolicy.WORK_QUEUE}, {}],
)
def test_a_stream_that_keeps_what_nobody_has_read_is_used_as_it_is(
    nats: Server, tmp_path: Path, given: dict[str, Any]
) -> None:
    made = asyncio.run(make_stream(nats.url, **given))
    app = App(home=tmp_path / "home", ledger="", workers=1, bus=nats.url)
    app.run([telling], [(telling, Claim("x", 50))])
    _until(app, [telling], lambda: not app.reads().events(None, None, 9)[0]["outgoing"])
    assert asyncio.run(stream_of(nats.url)) == made


def test_a_reader_that_passes_over_messages_is_refused(nats: Server) -> None:
    async def scenario() -> None:
        await make_stream(nats.url)
        connection = await nats_client.connect(nats.url)
        await connection.jetstream().add_consumer(
            "HOLDFAST",
            ConsumerConfig(durable_name="a-ledger", ack_policy=AckPolicy.EXPLICIT, max_deliver=3),
        )
        await connection.close()
        with pytest.raises(StreamRefusedError, match="max_deliver of consumer a-ledger is 3"):
            await NatsBus(nats.url, "a-ledger").start(_nothing)

    asyncio.run(scenario())


def test_a_stream_that_is_full_keeps_events_here_until_there_is_room(
    nats: Server, tmp_path: Path
) -> None:
    asyncio.run(make_stream(nats.url, max_msgs=1, discard=DiscardPolicy.NEW))
    app = App(home=tmp_path / "home", ledger="", workers=1, bus=nats.url)
    for number in range(2):
        app.publish("payment.received", number, id=str(number))
    _until(
        app,
        [telling],
        lambda: sum(row["outgoing"] for row in app.reads().events(None, None, 9)) == 1,
    )

    async def empty() -> None:
        connection = await nats_client.connect(nats.url)
        await connection.jetstream().purge_stream("HOLDFAST")
        await connection.close()

    asyncio.run(empty())
    _until(
        app,
        [telling],
        lambda: not any(row["outgoing"] for row in app.reads().events(None, None, 9)),
    )
    assert not any(row["parked"] for row in app.reads().events(None, None, 9))


def test_an_event_larger_than_the_broker_takes_keeps_its_data_and_holds_up_no_other(
    nats: Server, tmp_path: Path
) -> None:
    app = App(home=tmp_path / "home", ledger="", workers=1, bus=nats.url)
    app.publish("payment.received", "x" * 2_000_000, id="large")
    app.publish("payment.received", "small", id="small")
    _until(
        app,
        [telling],
        lambda: [row["event"] for row in app.reads().outgoing(False, 9)] == ["large"],
    )
    (row,) = app.reads().outgoing(False, 9)
    assert "max_payload" in row["reason"]
    assert row["tries"] >= 1
    assert app.send_again("large")


def test_two_producers_with_one_id_and_a_poison_message_come_in(
    nats: Server, tmp_path: Path
) -> None:
    app = App(home=tmp_path / "home", ledger="", workers=1, bus=nats.url)

    async def publish() -> None:
        bus = NatsBus(nats.url, "a-producer")
        await bus.start(_nothing)
        for source in ("alice", "bob"):
            await bus.publish(
                "payment.received",
                "42",
                json.dumps({**CLOUD, "id": "42", "source": source, "data": 1}).encode(),
            )
        await bus.close()
        connection = await nats_client.connect(nats.url)
        poison = (
            (b"\xff\xfe", "text/plain"),
            (b"{", "application/json"),
            (b"", "application/octet-stream"),
        )
        for body, kind in poison:
            await connection.jetstream().publish(
                "holdfast.payment.received", body, headers={"content-type": kind}
            )
        early = {**CLOUD, "id": "early", "time": "0001-01-01T00:00:00", "data": 1}
        await connection.jetstream().publish(
            "holdfast.payment.received", json.dumps(early).encode()
        )
        await connection.close()

    asyncio.run(publish())
    _until(app, [telling], lambda: len(app.reads().events(None, None, 9)) == 6)
    assert len(app.reads().events("payment.received", None, 9)) == 3
    assert len(app.reads().events("holdfast.malformed", None, 9)) == 3
    with ThreadPoolExecutor(1) as beside:
        _until(
            app,
            [telling],
            lambda: beside.submit(asyncio.run, _unread(nats.url, app)).result() == (0, 0),
        )


async def _unread(url: str, app: App) -> tuple[int, int]:
    """Messages of this ledger's reader that are not acknowledged, and that it has not seen."""
    connection = await nats_client.connect(url)
    name = f"holdfast-{hashlib.sha256(app.settings.ledger_name.encode()).hexdigest()[:16]}"
    found = await connection.jetstream().consumer_info("HOLDFAST", name)
    await connection.close()
    return found.num_ack_pending or 0, found.num_pending or 0


def test_what_cannot_be_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="write nats://HOST:PORT"):
        App(home=tmp_path / "home", ledger="", bus="amqp://x").run([telling])
    with pytest.raises(BusError, match="not connected"):
        asyncio.run(NatsBus("nats://127.0.0.1:1", "x").publish("a", "b", b"null"))


def _until(app: App, pipelines: list[Any], done: Any) -> None:
    """Keep a runner up until something has come about."""
    ticks = 0

    def tick(session: Any) -> None:
        nonlocal ticks
        ticks += 1
        if ticks % 10 == 0 and (done() or ticks > 800):
            session.stop_now()

    app.run(pipelines, (), False, each_tick=tick)
    assert done()
