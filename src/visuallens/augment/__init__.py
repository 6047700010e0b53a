"""Offline augmentation (§4.1): encode, caption, aspect words, kept in one SQLite file."""
