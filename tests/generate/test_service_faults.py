"""A service behind a real socket that fails in every way: no reply is lost, none is bought twice.

pytest tests/generate/test_service_faults.py
"""

import datetime
import ipaddress
import json
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from generate.service import FAULTS, SLOW, Service, serving

from winnow.core import http
from winnow.core import service as client
from winnow.core.errors import Refusal
from winnow.core.params import build
from winnow.generate.backends import CUT, EMPTY, WITHHELD, Backend, Reply, Request, Sampling
from winnow.generate.backends.openai import Openai, body, sent_seed
from winnow.generate.methods import seeds
from winnow.generate.params import Budget
from winnow.generate.replies import Replies

KEY = "sk-canary-7654321"
DRAWN = Sampling(temperature=0.7, top_p=0.9, repetition_penalty=1.0, max_tokens=8)
LIMIT = 1.5
"""Seconds for a request, which a busy machine does not take for an answer of a few bytes."""


def requests(number: int) -> list[Request]:
    """Chats and texts in turn."""
    chats = [(("system", "Be brief."), ("user", f"Say {n}.")) for n in range(number)]
    return [
        Request(chat=chat, sampling=DRAWN, seed=n)
        if n % 2
        else Request(text=f"The number {n} is", sampling=DRAWN, seed=n, stop=("\n",))
        for n, chat in enumerate(chats)
    ]


def opened(url: str, **keys: Any) -> Any:
    """A backend whose pauses are short."""
    backend: Any = Openai(url=url, model="m", key="A_KEY", timeout=LIMIT, **keys).open()
    backend.service.pauses = (0.01,) * 5
    return backend


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("A_KEY", KEY)
    monkeypatch.setattr(http, "MAX_BYTES", 1 << 16)


@pytest.fixture
def service() -> Iterator[Service]:
    with serving(Service()) as running:
        yield running


def answers(backend: Backend, number: int) -> list[Reply]:
    found = dict(backend.answer(requests(number)))
    return [found[place] for place in range(number)]


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_through_all_faults_no_reply_is_lost_or_bought_twice(service: Service, seed: int) -> None:
    expected = answers(opened(service.url, workers=4), 200)
    assert {reply.failure for reply in expected} == {None, CUT}
    quick = [name for name in FAULTS if name not in SLOW]
    faulty = Service(faults=[*quick, *quick, *SLOW], seed=seed)
    with serving(faulty):
        replies = Replies(opened(faulty.url, workers=16), Budget())
        assert replies.ask(requests(200)) == expected
        assert len(faulty.served) == 200 and set(faulty.served.values()) == {1}
        assert set(faulty.failed) == set(FAULTS) and 1 < faulty.most_flying <= 16
        assert Replies(opened(faulty.url), Budget()).ask(requests(200)) == expected
        assert faulty.served.total() == 200
    assert replies.totals.failures == {CUT: sum(reply.failure == CUT for reply in expected)}
    assert all(one["Authorization"] == f"Bearer {KEY}" for one in faulty.headers)
    kept = [path.read_text() for path in Path(".winnow").rglob("*") if path.is_file()]
    assert len(kept) == 200 and not any("canary" in text for text in kept)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_stays_is_a_failure_with_its_reason_and_then_the_end(
    service: Service, fault: str
) -> None:
    service.faults, service.share, service.most = [fault], 1.0, 1000
    backend = opened(service.url, workers=1)
    backend.service.pauses, backend.service.timeout = (0.01,), 0.15
    begun = time.monotonic()
    replies = backend.answer(requests(9))
    found = [next(replies)[1] for _ in range(client.PATIENCE - 1)]
    assert all(reply.failure and not reply.text for reply in found), found
    with pytest.raises(Refusal, match=r"does not answer \(5 requests in a row\)") as error:
        next(replies)
    assert found[0].failure in str(error.value) and "canary" not in str(error.value)
    assert service.failed == {fault: 2 * client.PATIENCE} and not service.served
    assert time.monotonic() - begun < 20
    service.faults = []
    assert [reply.failure in (None, CUT) for reply in answers(backend, 9)] == [True] * 9


def test_a_failure_is_not_kept_and_asked_again_by_the_next_run(service: Service) -> None:
    service.faults, service.share, service.most = ["500"], 1.0, 3
    backend = opened(service.url, workers=1)
    backend.service.pauses = (0.01,)
    first = Replies(backend, Budget()).ask(requests(3))
    assert [reply.failure for reply in first] == ["HTTP 500"] * 3
    again = Replies(backend, Budget())
    assert all(reply.text for reply in again.ask(requests(3))) and again.totals.kept == 0


def test_retry_after_is_honoured_and_bounded(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.faults, service.share, service.most = ["wait"], 1.0, 1
    monkeypatch.setitem(FAULTS, "wait", lambda handler, _: handler.send(b"", 429, Retry_After=1))
    begun = time.monotonic()
    assert answers(opened(service.url), 1)[0].text and time.monotonic() - begun >= 1
    monkeypatch.setitem(FAULTS, "wait", lambda handler, _: handler.send(b"", 429, Retry_After=601))
    service.attempts.clear()
    with pytest.raises(Refusal, match="asks to come back in 601 s: run this again then"):
        answers(opened(service.url), 1)


def test_what_the_request_is_at_fault_for_is_a_failure_of_its_own(service: Service) -> None:
    service.write = lambda asked: "\n" if "The number 0" in str(asked) else "w " * 9
    empty, cut = answers(opened(service.url), 2)
    assert (empty.failure, cut.failure, cut.text) == (EMPTY, CUT, "w w w w w w w w")
    endings = {"content_filter": WITHHELD, "abort": "ended for another reason", "stop": None}
    whole = service.answer
    for ended, failure in endings.items():

        def answer(path: str, asked: Any, ended: str = ended) -> Any:
            found = whole(path, asked)
            found["choices"][0]["finish_reason"] = ended
            return found

        service.answer = answer  # type: ignore[method-assign]
        assert {reply.failure for reply in answers(opened(service.url), 4)} <= {failure, EMPTY}


def test_one_request_that_is_refused_stops_nothing_and_all_of_them_stop(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAULTS, "400", lambda handler, _: handler.send(b"", 400))
    service.faults, service.share, service.seed = ["400"], 0.3, 4
    found = answers(opened(service.url, workers=1), 20)
    refused = [reply for reply in found if reply.failure == "HTTP 400"]
    assert 0 < len(refused) < 10 and service.attempts.total() == 20
    service.share, service.most = 1.0, 1000
    with pytest.raises(Refusal, match=r"5 requests in a row\): the last time it was HTTP 400"):
        answers(opened(service.url, workers=1), 20)


@pytest.mark.parametrize("status", [301, 302, 307, 308, 401, 403, 404])
def test_a_service_that_refuses_ends_the_run_and_no_redirect_is_followed(
    service: Service, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    with serving(Service()) as other:
        monkeypatch.setitem(
            FAULTS, "it", lambda handler, _: handler.send(b"", status, Location=other.url)
        )
        service.faults, service.share, service.pause = ["it"], 1.0, 0.05
        with pytest.raises(Refusal, match=rf"refuses \(HTTP {status}\): check url, model") as error:
            answers(opened(service.url, workers=3), 50)
        assert service.attempts.total() <= 6 and not other.attempts and "canary" not in str(error)


def test_where_a_service_refuses_what_is_in_flight_is_still_taken(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAULTS, "403", lambda handler, _: handler.send(b"", 403))
    service.faults, service.share, service.seed, service.pause = ["403"], 0.1, 1, 0.05
    replies = Replies(opened(service.url, workers=8), Budget())
    with pytest.raises(Refusal, match="HTTP 403"):
        replies.ask(requests(100))
    assert 0 < service.served.total() == replies.totals.bought.requests < 100


def test_a_request_is_sent_as_the_protocol_has_it(service: Service) -> None:
    chat = (("system", "Be brief."), ("user", "Say 1."))
    penalised = Sampling(temperature=0.0, top_p=1.0, repetition_penalty=1.1, max_tokens=9)
    asked = [
        Request(chat=chat, sampling=DRAWN, seed=(7 << 32) + 5),
        Request(text="On", sampling=penalised, seed=3, stop=("a", "b")),
    ]
    dict(opened(service.url + "/").answer(asked))
    plain = {"model": "m", "temperature": 0.7, "top_p": 0.9, "max_tokens": 8}
    messages = [{"role": role, "content": text} for role, text in chat]
    other = {"model": "m", "temperature": 0.0, "top_p": 1.0, "max_tokens": 9}
    other |= {"prompt": "On", "stop": ["a", "b"], "repetition_penalty": 1.1}
    found = sorted(map(json.loads, service.served), key=lambda one: one["max_tokens"])
    sent = [one.pop("seed") for one in found]
    assert found == [plain | {"messages": messages}, other]
    assert sent == [sent_seed((7 << 32) + 5), sent_seed(3)]
    assert set(service.paths) == {"/v1/chat/completions", "/v1/completions"}


def test_the_seeds_of_two_shards_and_parts_stay_apart() -> None:
    given = [seeds(shard, 50, part) for shard in (0, 100, 101) for part in (0, 1)]
    sent = [sent_seed(seed) for part in given for seed in part]
    assert len(set(sent)) == len(sent) and all(0 <= seed < 2**31 for seed in sent)


def test_the_section_of_params() -> None:
    given = {"url": "http://127.0.0.1:1/v1", "model": "m", "price": {"prompt": 1, "reply": 2.5}}
    settings = build(Openai, given | {"template": "<|user|>\n"}, "backend")
    assert settings.prices() == (1.0, 2.5) and "A_KEY" not in str(settings.record())
    assert settings.open().question_prefix() == "<|user|>\n"
    assert Openai(url="http://127.0.0.1:1", model="m").prices() == (0.0, 0.0)
    with pytest.raises(Refusal, match="backend.price.reply"):
        build(Openai, given | {"price": {"reply": -1}}, "backend")
    with pytest.raises(Refusal, match="^key: the environment variable NONE is not set"):
        Openai(url="http://127.0.0.1:1", model="m", key="NONE").open()


LINK_LOCAL = "leads to a link-local address"
NO_ADDRESS = "expected http:// or https:// and a host"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://169.254.169.254/latest", LINK_LOCAL),
        ("http://2852039166/", LINK_LOCAL),
        ("http://0xa9fea9fe/", LINK_LOCAL),
        ("http://0251.0376.0251.0376/", LINK_LOCAL),
        ("http://169.254.43518/", LINK_LOCAL),
        ("http://[::ffff:169.254.169.254]/", LINK_LOCAL),
        ("http://[::ffff:a9fe:a9fe]/", LINK_LOCAL),
        ("http://[fe80::1]/v1", LINK_LOCAL),
        ("http://[fe80::1%25lo]/v1", "cannot be found|" + LINK_LOCAL),
        ("https://[fd00:ec2::254]/", LINK_LOCAL),
        ("http://224.0.0.1/", "leads to a multicast address"),
        ("http://[ff02::1]/", "leads to a multicast address"),
        ("http://0.0.0.0:8000/", "leads to an unspecified address"),
        ("http://0/", "leads to an unspecified address"),
        ("http://[::]/", "leads to an unspecified address"),
        ("http://[::ffff:0.0.0.0]/", "leads to an unspecified address"),
        ("http://no-such-host.invalid/", "the host 'no-such-host.invalid' cannot be found"),
        ("http://" + "a" * 70 + "/", "cannot be found"),
        ("file:///etc/passwd", NO_ADDRESS),
        ("ftp://127.0.0.1/", NO_ADDRESS),
        ("data:text/plain,a", NO_ADDRESS),
        ("gopher://127.0.0.1/", NO_ADDRESS),
        ("//127.0.0.1/", NO_ADDRESS),
        ("http://", NO_ADDRESS),
        ("http://[::1", NO_ADDRESS),
        ("http://127.0.0.1:99999/", NO_ADDRESS),
        ("http://127.0.0.1/a b", NO_ADDRESS),
        ("http://127.0.0.1/é", NO_ADDRESS),
        (f"http://me:{KEY}@127.0.0.1/", NO_ADDRESS),
        (f"http://:{KEY}@127.0.0.1/", NO_ADDRESS),
        (f"http://127.0.0.1/?key={KEY}", NO_ADDRESS),
        (f"http://127.0.0.1/#{KEY}", NO_ADDRESS),
    ],
)
def test_an_address_that_is_no_service_is_refused(url: str, said: str) -> None:
    with pytest.raises(Refusal, match=f"url: .*({said})") as error:
        Openai(url=url, model="m").open()
    assert KEY not in str(error.value)


def test_a_key_goes_unencrypted_to_this_machine_alone() -> None:
    for url in ("http://10.0.0.1/v1", "http://[::ffff:10.0.0.1]/v1"):
        with pytest.raises(Refusal, match="expected https://, as a key is sent along"):
            Openai(url=url, model="m", key="A_KEY").open()
        Openai(url=url, model="m").open()
    for url in ("http://127.0.0.1/v1", "http://[::1]/v1", "http://[::ffff:127.0.0.1]/v1"):
        Openai(url=url, model="m", key="A_KEY").open()


@pytest.mark.parametrize(
    ("later", "said"), [("169.254.169.254", LINK_LOCAL), ("10.0.0.1", "expected https://")]
)
def test_a_name_that_leads_elsewhere_once_it_was_looked_at_is_not_connected_to(
    service: Service, monkeypatch: pytest.MonkeyPatch, later: str, said: str
) -> None:
    backend, asked = opened(service.url), requests(1)
    connected: list[Any] = []
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_, **__: [(socket.AF_INET, 1, 6, "", (later, 80))]
    )
    monkeypatch.setattr(socket.socket, "connect", lambda _, to: connected.append(to))
    with pytest.raises(Refusal, match=said):
        dict(backend.answer(asked))
    assert not connected and not service.headers


def certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that vouches for itself, and its key."""
    paths = folder / "certificate.pem", folder / "key.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
    here = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(1))
        .not_valid_after(now + datetime.timedelta(1))
        .add_extension(here, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    paths[1].write_bytes(key.private_bytes(pem, form, serialization.NoEncryption()))
    return paths


def test_all_of_it_holds_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = [name for name in FAULTS if name not in SLOW]
    paths = certificate(tmp_path)
    with serving(Service(faults=[*quick, *SLOW, *SLOW]), tls=paths) as service:
        backend = opened(service.url)
        assert answers(backend, 1)[0].failure == "the connection broke" and not service.served
        monkeypatch.setattr(http, "_context", lambda: ssl.create_default_context(cafile=paths[0]))
        found = answers(backend, 60)
        assert {reply.failure for reply in found} == {None, CUT}
        assert set(service.served.values()) == {1} and set(service.failed) >= set(SLOW)


def test_a_handshake_that_never_comes_ends_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        begun = time.monotonic()
        got = http.post(f"https://127.0.0.1:{server.getsockname()[1]}/v1", b"{}", {}, 0.3)
    assert (got.status, got.failure) == (0, "no answer in time") and time.monotonic() - begun < 5


def test_a_proxy_of_the_environment_is_used(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", service.url.removesuffix("/v1"))
    url, asked = "http://elsewhere.invalid/v1/completions", body("m", requests(1)[0])
    assert http.post(url, asked, {}, LIMIT).status == 200 and service.paths == {url: 1}


def test_a_service_that_takes_nothing_ends_in_time() -> None:
    """No byte is read of a request that fills all buffers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        begun = time.monotonic()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        got = http.post(url, b"x" * (1 << 25), {}, 0.5)
    assert (got.status, got.failure) == (0, "no answer in time") and time.monotonic() - begun < 5
