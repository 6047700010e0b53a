from __future__ import annotations

import pytest
from tests.models.server import fake_server
from tests.models.server.connecting import connected
from tests.models.server.fake_server import FakeServer, Kind

from visuallens.errors import BackboneError, ServerRefusedError, ServerUnreachableError
from visuallens.models.server.discovery import DEFAULT_MAX_TOKENS, OLLAMA_MAX_TOKENS


@pytest.mark.parametrize("owner", [None, "somebody"])
@pytest.mark.parametrize(
    ("kind", "model_id", "max_tokens"),
    [
        ("vllm", "toy@vllm:org/toy-model", 4096),
        ("sglang", "toy@sglang", DEFAULT_MAX_TOKENS),
        ("llamacpp", "toy@llamacpp:toy-q4.gguf", 2048),
        ("ollama", "toy@ollama", OLLAMA_MAX_TOKENS),
        ("openai", "toy@openai", DEFAULT_MAX_TOKENS),
    ],
)
def test_the_kind_of_server_is_found_out(
    kind: Kind, model_id: str, max_tokens: int, owner: str | None
) -> None:
    with FakeServer(kind=kind, owner=owner) as fake, connected(fake) as backbone:
        assert backbone.id == model_id
        assert backbone.max_tokens == max_tokens
        assert (backbone.name, backbone.sees, backbone.is_matcher) == ("server", True, False)
        assert backbone.stays_here is (kind != "openai")
        assert fake.posts() == 0


def test_a_dialect_that_is_set_is_not_guessed() -> None:
    with FakeServer(kind="vllm") as fake, connected(fake, dialect="openai") as backbone:
        assert backbone.id.startswith("toy@openai")
        assert [asked.path for asked in fake.asked] == ["/v1/models"]


def test_llama_cpp_python_has_no_ids_and_a_file_as_its_name() -> None:
    with FakeServer(kind="python", models=("/home/me/toy.gguf",)) as fake, connected(fake) as found:
        assert found.id == "toy.gguf@llamacpp"
        assert found.label_space().token_ids == ()


def test_a_server_that_does_not_see_says_so() -> None:
    with FakeServer(kind="llamacpp", vision=False) as fake, connected(fake) as backbone:
        assert not backbone.sees


@pytest.mark.parametrize(("models", "said"), [((), "lists no models"), (("a", "b"), "a, b")])
def test_the_model_must_be_plain(models: tuple[str, ...], said: str) -> None:
    with FakeServer(models=models) as fake:
        with pytest.raises(BackboneError, match=said) as caught:
            connected(fake)
        assert "backbone.model" in str(caught.value)
        with connected(fake, model="b") as backbone:
            assert backbone.id.startswith("b@")


def test_a_wrong_key_and_a_dead_address_are_errors_of_the_start() -> None:
    with FakeServer(key="right") as fake, pytest.raises(ServerRefusedError, match="wants a key"):
        connected(fake)
    with pytest.raises(ServerUnreachableError):
        connected(fake)


def test_a_server_that_is_still_loading_is_waited_for() -> None:
    loading = [True, True]
    plain = fake_server.Handler.do_GET

    def busy(handler: fake_server.Handler) -> None:
        if loading:
            loading.pop()
            handler.reply(503, {"error": {"message": "Loading model"}})
        else:
            plain(handler)

    with FakeServer() as fake:
        fake.http.RequestHandlerClass = type("Loading", (fake_server.Handler,), {"do_GET": busy})
        with connected(fake) as backbone:
            assert backbone.usage.retries == 2
