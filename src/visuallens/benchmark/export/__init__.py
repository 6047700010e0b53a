"""A benchmark in the formats of others: chat JSON lines for trainers, a folder for `datasets`."""

from visuallens.benchmark.export.chat import ExportedChat, export_chat
from visuallens.benchmark.export.datasets import export_datasets

__all__ = ["ExportedChat", "export_chat", "export_datasets"]
