"""What a run asks of a server, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from visuallens.config import ServerSettings
from visuallens.models.server.cache import Json


@dataclass(frozen=True, slots=True)
class Account:
    """What a run has asked of a server.

    Attributes:
        requests: answers fetched from the server.
        cached: answers found on this machine instead; no tokens and no cost.
        retries: further tries after a failed one.
        tokens_in: tokens read, by the server's own count.
        tokens_out: tokens written.
        cost: in the currency of the prices.
    """

    requests: int = 0
    cached: int = 0
    retries: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0

    def __str__(self) -> str:
        asked = self.requests + self.cached
        cached = f" ({self.cached:,} from the cache)" if self.cached else ""
        written = f"{self.tokens_in:,} tokens in, {self.tokens_out:,} out"
        cost = f", cost {self.cost:,.2f}" if self.cost >= 0.005 else ", cost below 0.01"
        return f"{asked:,} requests{cached}, {written}{cost if self.cost else ''}"


def cost_of(tokens_in: int, tokens_out: int, settings: ServerSettings) -> float:
    """Give the price of tokens read and written, in the currency of the settings."""
    return (tokens_in * settings.price_in + tokens_out * settings.price_out) / 1e6


def estimate(
    requests: int, tokens_in: int, tokens_out: int, settings: ServerSettings
) -> tuple[float, float]:
    """Estimate what a run will cost before it is begun.

    Args:
        requests: how many.
        tokens_in: tokens read by each.
        tokens_out: tokens written by each.
        settings: with prices and the limit of requests per minute.

    Returns:
        The cost, and the least minutes that the limit allows (0 without a limit).
    """
    limit = settings.requests_per_minute
    cost = cost_of(requests * tokens_in, requests * tokens_out, settings)
    return cost, requests / limit if limit else 0.0


def entered(account: Account, answer: Json, settings: ServerSettings) -> Account:
    """Add one fetched answer to an account.

    Args:
        account: so far.
        answer: with the server's own count of tokens, if it gives one.
        settings: with the prices.

    Returns:
        The account with it.
    """
    read, written = _tokens(answer)
    return replace(
        account,
        requests=account.requests + 1,
        tokens_in=account.tokens_in + read,
        tokens_out=account.tokens_out + written,
        cost=account.cost + cost_of(read, written, settings),
    )


def _tokens(answer: Json) -> tuple[int, int]:
    usage = answer.get("usage") or answer.get("meta_info")  # the latter is SGLang's own route
    if not isinstance(usage, dict):
        return 0, 0
    read, written = usage.get("prompt_tokens"), usage.get("completion_tokens")
    return (read if isinstance(read, int) else 0), (written if isinstance(written, int) else 0)
