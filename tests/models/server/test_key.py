from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from tests.models.server.connecting import client_of
from tests.models.server.fake_server import FakeServer, answer, status
from tests.models.server.test_client import ask

from visuallens.config import BackboneSettings, ServerSettings
from visuallens.errors import BackboneError, ServerAnswerError, ServerBusyError, ServerRefusedError
from visuallens.models.server.backbone import load
from visuallens.models.server.key import hide, read_key, secrets_of


def test_space_around_the_key_is_dropped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MY_KEY", " sk-hush123\r\n")
    with FakeServer(key="sk-hush123") as fake:
        server = ServerSettings(url=fake.url, api_key_variable="MY_KEY")
        with load(BackboneSettings(server=server), cache_file=tmp_path / "answers") as backbone:
            assert backbone.generate([None], ["hello"]) == ["answer to hello"]


@pytest.mark.parametrize(
    "key", ["sk-hush\u00e9", "sk-\nhush", "sk-hush\x7f1", "\u201csk-hush\u201d"]
)
def test_a_key_that_cannot_be_sent_names_the_variable_and_never_the_key(
    monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(BackboneError, match="MY_KEY") as caught:
        load(BackboneSettings(server=ServerSettings(api_key_variable="MY_KEY", cache=False)))
    assert "hush" not in "".join(traceback.format_exception(caught.value))


def test_no_key_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", " \n")
    assert read_key("server", "MY_KEY") is None
    monkeypatch.delenv("MY_KEY")
    assert read_key("server", "MY_KEY") is None


def test_a_header_that_is_refused_locally_is_not_repeated() -> None:
    key = "sk-hush\n1"
    with FakeServer() as fake, pytest.raises(BackboneError, match="VISUALLENS_API_KEY") as caught:
        ask(client_of(fake.url, key=key))
    assert "hush" not in "".join(traceback.format_exception(caught.value))


def test_a_login_is_sent_and_never_shown() -> None:
    sent = "YW5uOmh1c2g="  # ann:hush in base 64
    with FakeServer() as fake:
        fake.script.extend(
            [
                None,
                status(400, f"bad header Basic {sent}"),
                status(503, "ann:hush is busy"),
                answer({"error": "ann:hush may not"}),
            ]
        )
        url = fake.url.replace("http://", "http://ann:hush@")
        assert ask(client_of(url))["choices"]
        assert fake.asked[-1].headers["Authorization"] == f"Basic {sent}"
        for error in (ServerRefusedError, ServerBusyError, ServerAnswerError):
            with pytest.raises(error) as caught:
                ask(client_of(url, retries=0))
            shown = "".join(traceback.format_exception(caught.value))
            assert fake.url in shown
            assert "***" in shown
            assert "hush" not in shown
            assert sent not in shown


def test_what_is_hidden() -> None:
    assert secrets_of(None, None) == ()
    assert hide("k and b64 of ann:", secrets_of("k", ("ann", ""))) == "*** and b64 of ann:"
