"""The score of a candidate that is told by its name, in ranking and in training.

Source: the implicit reward of direct preference optimisation (Rafailov et al. 2023), as used to
    rank items by Chen et al. 2024 (S-DPO), whose softmax over one liked and several other items is
    the list-wise form of our matching loss.
Choice: the base model is asked without the profile. So before any training a score is how much the
    profile says about a name (pointwise mutual information), and names that are long, rare or
    everywhere are not judged by that; training can add what is liked by all.
"""

from __future__ import annotations

NAME_SHARPNESS = 0.1
"""Score of a name for each natural logarithm that the profile adds to its likelihood.

Choice: beta of both papers; a dozen tokens then differ by about one.
"""
