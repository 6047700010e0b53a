"""Stands in for a file of the same name that comes with MiniCPM-Llama3-V 2.5."""

from __future__ import annotations

from transformers import PreTrainedTokenizerFast


class MiniCPMVTokenizerFast(PreTrainedTokenizerFast):
    """Knows the markers of images."""

    im_start = "<image>"
    im_end = "</image>"
    slice_start = "<slice>"
    slice_end = "</slice>"
