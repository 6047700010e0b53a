"""Histories cut to their newest photos: how much history a ranker needs.

Source: Figure 3b, MRR over the number of images. There, users with few photos are compared with
others who have many; here it is the same users, with less of their own history.
"""

from __future__ import annotations

from dataclasses import replace

from visuallens.types import RankingRequest, VisualHistory


def truncated(request: RankingRequest, photos: int) -> RankingRequest:
    """Leave only the newest photos of the history.

    Args:
        request: of any kind.
        photos: how many are known; 0: none at all.

    Returns:
        The same request with at most so many photos, oldest first.

    Choice: the newest, as of a user who began so many photos ago. Photos without a date count as
        the oldest, as in every history.
    """
    whole = request.history.photos
    kept = tuple(whole[max(0, len(whole) - photos) :])
    return replace(request, history=VisualHistory(request.history.user_id, kept))
