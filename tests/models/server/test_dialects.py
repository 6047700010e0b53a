from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.models.server.connecting import connected
from tests.models.server.fake_server import (
    NEW,
    FakeServer,
    Json,
    Kind,
    answer,
    completion,
    letter_logprob,
    logprobs_of,
    status,
)

from visuallens.errors import (
    BackboneError,
    ServerAnswerError,
    ServerRefusedError,
    ThinkingModelError,
)
from visuallens.models.base import PromptImage
from visuallens.models.label_space import NEW_LABELS

PROMPTS = ["first prompt", "second prompt"]


@pytest.mark.parametrize("kind", ["vllm", "sglang", "llamacpp", "python"])
def test_letters_are_scored_and_both_spellings_added(kind: Kind) -> None:
    with FakeServer(kind=kind) as fake, connected(fake) as backbone:
        space = backbone.label_space()
        told = backbone.score_labels([None, None], PROMPTS, space)
    assert len(space) == 52
    assert told.dtype == np.float32
    for row, prompt in zip(told, PROMPTS, strict=True):
        for value, label in zip(row, space.labels, strict=True):
            assert value == pytest.approx(letter_logprob(prompt, label), abs=1e-5)


def test_label_spaces_say_where_their_ids_come_from() -> None:
    with FakeServer(kind="vllm") as fake, connected(fake) as backbone:
        space = backbone.label_space("letters")
        assert space.token_ids[:2] == (ord("A"), ord("B"))
        assert len(space.tokenizer) == 64
    with FakeServer(kind="ollama") as fake, connected(fake) as backbone:
        space = backbone.label_space()
        assert (space.labels, space.token_ids) == (tuple("ABCDEFGHIJKLMNOPQRST"), ())


@pytest.mark.parametrize("kind", ["ollama", "openai"])
def test_labels_beyond_the_best_twenty_are_nan(kind: Kind) -> None:
    with FakeServer(kind=kind) as fake, connected(fake) as backbone:
        space = backbone.label_space()
        (row,) = backbone.score_labels([None], PROMPTS[:1], space)
    told = logprobs_of(PROMPTS[0])
    best = sorted(told, key=lambda token: -told[token])[:20]
    for value, label in zip(row, space.labels, strict=True):
        said = [math.exp(told[token]) for token in (ord(label), 1000 + ord(label)) if token in best]
        if said:
            assert value == pytest.approx(math.log(sum(said)), abs=1e-5)
        else:
            assert math.isnan(value)
    assert np.isnan(row).any()
    assert not np.isnan(row).all()
    assert all(chat["top_logprobs"] == 20 for chat in fake.chats())


def test_a_cut_label_space_asks_for_its_own_labels_only() -> None:
    with FakeServer(kind="vllm") as fake, connected(fake) as backbone:
        told = backbone.score_labels([None], PROMPTS[:1], backbone.label_space().cut(3))
        assert told[0] == pytest.approx([letter_logprob(PROMPTS[0], x) for x in "ABC"], abs=1e-5)
        assert fake.chats()[-1]["logprob_token_ids"] == [65, 66, 67, 1065, 1066, 1067]


def test_vllm_is_asked_as_its_routes_want_it() -> None:
    with FakeServer(kind="vllm") as fake, connected(fake) as backbone:
        backbone.score_labels([None], PROMPTS[:1], backbone.label_space())
        chat = fake.chats()[-1]
    assert len(chat["logprob_token_ids"]) == 104
    assert chat["logprobs"] is True
    assert chat["return_tokens_as_token_ids"] is True
    assert (chat["max_tokens"], chat["temperature"]) == (1, 0)
    assert chat["chat_template_kwargs"] == {"enable_thinking": False}
    assert "top_logprobs" not in chat


def test_an_old_vllm_fails_loudly_before_anything_is_scored() -> None:
    with FakeServer(kind="vllm", old=True) as fake, connected(fake) as backbone:
        with pytest.raises(ServerAnswerError, match=r"43463.*server\.dialect=openai"):
            backbone.label_space()
        assert len(fake.chats()) == 1
    with FakeServer(kind="vllm", old=True) as fake, connected(fake, dialect="openai") as backbone:
        assert len(backbone.label_space()) == 20


def test_bytes_that_are_none_are_an_error_of_the_server() -> None:
    with FakeServer(kind="openai") as fake, connected(fake) as backbone:
        space = backbone.label_space()
        bad = {"token": "A", "logprob": -1.0, "bytes": [300]}
        told = {"content": [bad | {"top_logprobs": [bad]}]}
        fake.script.append(answer(completion("A", logprobs=told)))
        with pytest.raises(ServerAnswerError, match="bytes of tokens"):
            backbone.score_labels([None], PROMPTS[:1], space)


def test_the_papers_tokens_need_a_merged_model_on_vllm() -> None:
    with FakeServer(kind="vllm", merged=True) as fake, connected(fake) as backbone:
        space = backbone.label_space("new")
        assert space.labels == NEW_LABELS
        assert backbone.is_matcher
        told = backbone.score_labels([None], PROMPTS[:1], space)
    assert told[0, 0] == pytest.approx(logprobs_of(PROMPTS[0])[NEW + 1], abs=1e-5)
    kinds: list[Kind] = ["vllm", "sglang", "openai"]
    for kind in kinds:
        with FakeServer(kind=kind) as fake, connected(fake) as backbone:
            with pytest.raises(BackboneError, match="merge"):
                backbone.label_space("new")
            assert not backbone.is_matcher
            with pytest.raises(BackboneError, match="reserved"):
                backbone.label_space("reserved")
            with pytest.raises(BackboneError, match="how likely a name is"):
                backbone.label_space("names")


def test_sglang_scores_templated_ids_on_its_own_route() -> None:
    with FakeServer(kind="sglang") as fake, connected(fake) as backbone:
        backbone.score_labels([None], PROMPTS[:1], backbone.label_space())
        sent = [asked.body for asked in fake.asked if asked.path == "/generate"]
    assert "".join(map(chr, sent[0]["input_ids"])) == "<user>first prompt<assistant>"
    assert sent[0]["sampling_params"] == {"max_new_tokens": 1, "temperature": 0}
    assert len(sent[0]["token_ids_logprob"]) == 104


def test_an_old_sglang_is_read_from_its_most_probable_tokens() -> None:
    with FakeServer(kind="sglang", old=True) as fake, connected(fake) as backbone:
        told = backbone.score_labels([None], PROMPTS[:1], backbone.label_space().cut(2))
        assert all(asked.path != "/generate" for asked in fake.asked)
        assert fake.chats()[-1]["top_logprobs"] == 256
        assert backbone.count_tokens(["four"], image=None) == [4 + 64]
    assert told[0] == pytest.approx([letter_logprob(PROMPTS[0], x) for x in "AB"], abs=1e-5)


@pytest.mark.parametrize("kind", ["llamacpp", "openai"])
def test_without_log_probabilities_the_order_is_asked_for_in_words(kind: Kind) -> None:
    with FakeServer(kind=kind, silent=True) as fake, connected(fake) as backbone:
        assert backbone.scores == "permutation"
        assert len(backbone.label_space()) == 52
        with pytest.raises(BackboneError, match="in words"):
            backbone.score_labels([None], ["x"], backbone.label_space())
        assert len(fake.chats()) == 1


def test_that_a_server_tells_none_is_not_kept(tmp_path: Path) -> None:
    with FakeServer(kind="openai", silent=True) as fake:
        with connected(fake, cache=tmp_path / "answers") as backbone:
            assert backbone.scores == "permutation"
        fake.silent = False
        with connected(fake, cache=tmp_path / "answers") as backbone:
            assert backbone.scores == "logits"


def test_a_refusal_of_log_probabilities_means_permutation() -> None:
    with FakeServer(kind="openai") as fake, connected(fake) as backbone:
        fake.script.append(status(400, "logprobs are not supported with this model"))
        assert backbone.scores == "permutation"
    with FakeServer(kind="openai") as fake, connected(fake) as backbone:
        fake.script.append(status(400, "bad temperature"))
        with pytest.raises(ServerRefusedError):
            _ = backbone.scores


@pytest.mark.parametrize("model", ["o1", "o3-mini", "o4-mini", "gpt-5", "gpt-5.2-pro"])
def test_reasoning_models_are_known_by_name(model: str) -> None:
    with FakeServer(kind="openai", models=(model,)) as fake, connected(fake) as backbone:
        assert backbone.scores == "permutation"
        assert fake.chats() == []
        backbone.generate([None], ["hello"], max_new_tokens=5)
        (chat,) = fake.chats()
    assert chat["max_completion_tokens"] > 5
    assert "max_tokens" not in chat
    assert "temperature" not in chat


@pytest.mark.parametrize("model", ["gpt-4o", "o2-like", "gpt-50", "lo1"])
def test_others_are_not(model: str) -> None:
    with FakeServer(kind="openai", models=(model,)) as fake, connected(fake) as backbone:
        assert backbone.scores == "logits"


def test_the_reasoning_of_ollama_is_switched_off() -> None:
    with FakeServer(kind="ollama") as fake, connected(fake) as backbone:
        backbone.generate([None], ["hello"])
        assert fake.chats()[0]["reasoning_effort"] == "none"


@pytest.mark.parametrize("kind", ["vllm", "llamacpp", "openai"])
def test_half_an_answer_is_an_error(kind: Kind) -> None:
    with FakeServer(kind=kind) as fake, connected(fake) as backbone:
        space = backbone.label_space()
        halves: list[Json] = [completion("A"), {"choices": []}, {"choices": [{"index": 0}]}, {}]
        for half in halves:
            fake.script.append(answer(half))
            with pytest.raises(ServerAnswerError):
                backbone.score_labels([None], [f"new {half}"], space)


@pytest.mark.parametrize(
    "thought",
    [
        completion("<think>The user wants"),
        completion(None, reasoning_content="The user wants"),
        completion("", reasoning="The user wants"),
        completion("") | {"usage": {"completion_tokens_details": {"reasoning_tokens": 9}}},
    ],
)
def test_thoughts_are_no_answers(thought: dict[str, object]) -> None:
    with FakeServer(kind="vllm") as fake, connected(fake) as backbone:
        space = backbone.label_space()
        fake.script.extend([answer(thought)] * 2)
        with pytest.raises(ThinkingModelError, match="instruct"):
            backbone.generate([None], ["hello"])
        with pytest.raises(ThinkingModelError):
            backbone.score_labels([None], ["hello"], space)


def test_an_answer_after_thoughts_is_one() -> None:
    with FakeServer(kind="openai") as fake, connected(fake) as backbone:
        fake.script.append(answer(completion(" a dog \n", reasoning_content="hm")))
        assert backbone.generate([None], ["hello"]) == ["a dog"]


@pytest.mark.parametrize(
    ("kind", "count"),
    [("vllm", 4 + len("<user><assistant>")), ("sglang", 4 + 17), ("llamacpp", 4), ("python", 4)],
)
def test_tokens_are_counted_where_the_server_counts(kind: Kind, count: int) -> None:
    with FakeServer(kind=kind) as fake, connected(fake) as backbone:
        assert backbone.count_tokens(["four"], image=None) == [count + 64]
        image = PromptImage(Image.new("RGB", (64, 48)))
        assert backbone.count_tokens(["four"], image=image) == [count + 64 + 3000]
        assert backbone.count_tokens([], image=image) == []


@pytest.mark.parametrize("kind", ["openai", "llamacpp"])
def test_tokens_are_estimated_elsewhere(kind: Kind) -> None:
    with FakeServer(kind=kind, hidden=True) as fake, connected(fake) as backbone:
        # "abcd" is 4 ASCII characters: 2 tokens; "寿司" is 6 bytes: 3 tokens
        assert backbone.count_tokens(["abcd", "寿司", ""], image=None) == [66, 67, 64]
