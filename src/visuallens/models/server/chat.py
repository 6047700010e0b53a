"""Chat messages with an image, and what is read from a chat completion.

Choice: images are sent as bytes, never as addresses, so that a server fetches nothing; the image
    comes before the text, as the models were trained.
"""

from __future__ import annotations

import base64
import io
from typing import Any

from visuallens.errors import ThinkingModelError
from visuallens.models.base import PromptImage
from visuallens.models.server.cache import Json
from visuallens.models.server.client import ServerClient

Messages = list[Json]

_JPEG_QUALITY = 90


def data_url(picture: PromptImage) -> str:
    """Write an image as a data URL.

    Args:
        picture: RGB.

    Returns:
        A JPEG for one photo, a PNG for a grid.

    Choice: the cells of a grid are small and numbered, where JPEG blurs the digits and saves
        little; one photo is a JPEG of quality 90, a tenth of its PNG.
    """
    grid = picture.grid_side > 1
    file = io.BytesIO()
    image = picture.image.convert("RGB")
    if grid:
        image.save(file, "PNG")
    else:
        image.save(file, "JPEG", quality=_JPEG_QUALITY)
    kind = "png" if grid else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"


def messages(prompt: str, image_url: str | None) -> Messages:
    """Write a prompt as one user message.

    Args:
        prompt: the text.
        image_url: of `data_url`, shown before the text; or None.

    Returns:
        One message; its content is plain text without an image, since servers of text models take
        nothing else.
    """
    if image_url is None:
        return [{"role": "user", "content": prompt}]
    parts = [
        {"type": "image_url", "image_url": {"url": image_url}},
        {"type": "text", "text": prompt},
    ]
    return [{"role": "user", "content": parts}]


def has_image(chat: Messages) -> bool:
    """Tell whether a message shows an image."""
    return any(isinstance(message["content"], list) for message in chat)


def first_choice(client: ServerClient, answer: Json) -> Json:
    """Take the only choice of a chat completion.

    Args:
        client: makes the error.
        answer: of the server.

    Returns:
        The choice, which holds a message.

    Raises:
        ServerAnswerError: there is none.
        ThinkingModelError: the message is a thought, not an answer.
    """
    choices = answer.get("choices")
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise client.unusable("its answer holds no choices. Does it speak the OpenAI API?")
    choice: Json = choices[0]
    if not isinstance(choice.get("message"), dict):
        raise client.unusable("its answer holds no message. Does it speak the OpenAI API?")
    _refuse_thoughts(client, choice["message"], answer.get("usage"))
    return choice


def content(client: ServerClient, answer: Json) -> str:
    """Take the text of a chat completion; one that was cut at its longest is fine.

    Args:
        client: makes the error.
        answer: of the server.

    Returns:
        The text without surrounding space; empty where the model said nothing.

    Raises:
        ServerAnswerError: there is none.
        ThinkingModelError: it is a thought, not an answer.
    """
    message = first_choice(client, answer)["message"]
    text = message.get("content")
    if text is None and message.get("refusal"):
        return ""
    if text is not None and not isinstance(text, str):
        raise client.unusable("the content of its message is no text.")
    return (text or "").strip()


# Any: JSON, looked at piece by piece
def _refuse_thoughts(client: ServerClient, message: Json, usage: Any) -> None:  # noqa: ANN401
    text = message.get("content")
    if isinstance(text, str) and "<think>" in text:
        raise ThinkingModelError(client.backbone, "its answer holds <think>")
    if text:
        return
    for name in ("reasoning_content", "reasoning"):
        if message.get(name):
            raise ThinkingModelError(client.backbone, f"its whole answer is {name}")
    details = usage.get("completion_tokens_details") if isinstance(usage, dict) else None
    if isinstance(details, dict) and details.get("reasoning_tokens"):
        raise ThinkingModelError(client.backbone, "it spent the whole answer on reasoning tokens")
