"""Anything with weights: image and text encoders, captioners, backbones."""
