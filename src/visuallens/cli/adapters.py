"""`visuallens adapters`: list trained adapters, show one, merge or export one for a server."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote
from typing import Any

import click

from visuallens.cli.options import backbone_overrides, print_json

_RECORD, _WEIGHTS, _CONFIG = "visuallens.json", "adapter_model.safetensors", "adapter_config.json"
_RUN, _METRICS = "run.json", "metrics.jsonl"
_TOKENIZER_FILES = (
    "tokenizer*",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "vocab.*",
    "merges.txt",
    "*.model",
)
_LEVELS_ABOVE = 2
_ROW = "{folder:36} {base:44} {labels:9} {stage:9} {score}"

# Any: JSON.
Record = dict[str, Any]


@click.group()
def command() -> None:
    """List trained adapters, show one, merge it into its model, or export it."""


@command.command("list")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False), default=".")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(folder: Path, as_json: bool) -> None:
    """List the adapters below FOLDER: base model, labels, stage, best score on dev."""
    found = [_summary(one) for one in _adapters_below(folder)]
    if as_json:
        print_json({"adapters": found})
        return
    if not found:
        click.echo(f"There are no adapters below {folder}.")
        return
    click.echo(
        _ROW.format(
            folder="adapter", base="base", labels="labels", stage="stage", score="dev score"
        )
    )
    for one in found:
        score = one["metrics"].get("score")
        click.echo(
            _ROW.format(
                folder=one["folder"],
                base=one["base"] or one["problem"],
                labels=one["labels"] or "",
                stage=one["stage"] or "",
                score="" if score is None else f"{score:.4f} at step {one['metrics']['step']:,}",
            ).rstrip()
        )


@command.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def show(folder: Path, as_json: bool) -> None:
    """Show the record of the adapter in FOLDER: what it was trained on, and how."""
    record, summary = _read(folder), _summary(folder)
    if as_json:
        print_json({**summary, "record": record})
        return
    for key in ("base", "family", "labels", "style", "rank", "stage", "visuallens"):
        click.echo(f"{key:12} {'' if summary[key] is None else summary[key]}".rstrip())
    for key, value in summary["metrics"].items():
        click.echo(f"{'dev ' + key:12} {value}")
    click.echo(json.dumps(record["config"], indent=2, ensure_ascii=False))


@command.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="New folder.")
@click.option("--model", help="Base model, id or folder, where it is not found by its name.")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="TOML file.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="One setting.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def merge(
    folder: Path,
    out: Path,
    model: str | None,
    config: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Merge the adapter in FOLDER into its model: a folder that stands alone, as servers take it.

    For instance: visuallens adapters merge RUN/model --out MERGED
    """
    from visuallens import registry
    from visuallens.models.backbones.adapters import merge_adapter

    record = _read(folder)
    _refuse_full(out)
    settings = _settings(record, folder, model, config, overrides).backbone
    backbone = registry.load("backbones", settings.name)(settings)
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        merge_adapter(backbone, part)
        _take_place(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    commands = _serving(record, out)
    if as_json:
        print_json({"folder": str(out), "labels": record["labels"]["kind"], **commands})
        return
    click.echo(f"Merged into {out}")
    for name, text in commands.items():
        click.echo(f"{name.capitalize()} it with: {text}")


@command.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="New folder.")
@click.option("--model", help="Base model, id or folder, where it is not found by its name.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def export(folder: Path, out: Path, model: str | None, as_json: bool) -> None:
    """Write the adapter in FOLDER as a plain PEFT folder with its tokenizer, for other programs.

    Label tokens that were added to the vocabulary cannot be exported: merge such an adapter.
    """
    from visuallens.models.backbones.adapters import WEIGHTS_FILE

    record = _read(folder)
    _refuse_new_labels(record, folder)
    _refuse_full(out)
    settings = _settings(record, folder, model, None, ())
    tokenizer = _tokenizer_files(settings.backbone.name, settings.backbone.model)
    part = out.with_name(out.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        part.mkdir(parents=True)
        shutil.copyfile(folder / WEIGHTS_FILE, part / WEIGHTS_FILE)
        peft = json.loads((folder / _CONFIG).read_text("utf-8"))
        # What PEFT wrote may be a place on the machine that trained it.
        peft["base_model_name_or_path"] = _base(record)[0]
        peft["revision"] = _base(record)[1] if "/" in _base(record)[0] else None
        (part / _CONFIG).write_text(json.dumps(peft, indent=2) + "\n", encoding="utf-8")
        for file in tokenizer:
            shutil.copyfile(file, part / file.name)
        _take_place(part, out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    extra = _beside_lora(out / WEIGHTS_FILE)
    found = {"folder": str(out), "base": record["base"], "vllm": not extra, "beside_lora": extra}
    if as_json:
        print_json(found)
        return
    click.echo(f"Exported to {out}")
    if extra:
        click.echo(
            f"It holds more than LoRA matrices ({', '.join(extra)}), which PEFT reads and vLLM "
            f"does not. To serve it: visuallens adapters merge {quote(str(folder))} --out MERGED"
        )


def _adapters_below(folder: Path) -> Iterator[Path]:
    """Find adapters; a merged model has a record too, but no weights of an adapter."""
    for record in sorted(folder.rglob(_RECORD)):
        if (record.parent / _WEIGHTS).is_file():
            yield record.parent


def _summary(folder: Path) -> Record:
    """Say what an adapter is; one whose record is damaged is listed with the problem."""
    from visuallens.errors import AdapterError

    found: Record = {"folder": str(folder), "problem": None, **_near(folder)}
    keys = ("base", "family", "style", "visuallens")
    try:
        record = _read(folder)
    except AdapterError as error:
        nothing = dict.fromkeys((*keys, "labels", "rank"))
        return {**found, **nothing, "problem": error.problem}
    peft = _json(folder / _CONFIG) or {}
    return {
        **found,
        **{key: record.get(key) for key in keys},
        "labels": record["labels"]["kind"],
        "rank": peft.get("r"),
    }


def _near(folder: Path) -> Record:
    """Read stage and best measurement on dev of the run that the adapter lies in."""
    places = [folder, *folder.absolute().parents[:_LEVELS_ABOVE]]
    run = next((place for place in places if (place / _RUN).is_file()), None)
    about = _json(run / _RUN) or {} if run else {}
    return {"stage": about.get("stage"), "metrics": _best(run / _METRICS) if run else {}}


def _best(path: Path) -> Record:
    """Take the measurement with the best score, the first of equals; none where there is none."""
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    best: Record = {}
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue  # the line at which a run was killed
        is_dev = isinstance(record, dict) and record.get("kind") == "dev" and "score" in record
        if is_dev and (not best or record["score"] > best["score"]):
            best = {key: value for key, value in record.items() if key not in ("kind", "seconds")}
    return best


def _read(folder: Path) -> Record:
    from visuallens.errors import AdapterError

    record = _json(folder / _RECORD)
    labels = record.get("labels") if record else None
    if not record or not isinstance(labels, dict) or "kind" not in labels:
        problem = f"{_RECORD} is missing or unreadable"
        advice = "Name an adapter's own folder; visuallens adapters list FOLDER finds them."
        raise AdapterError("adapters", folder, problem, advice)
    if not (folder / _WEIGHTS).is_file():
        problem = f"{_WEIGHTS} is missing"
        raise AdapterError("adapters", folder, problem, "Is it a merged model? Else copy it again.")
    return {"config": {}, "base": "", "family": "", **record}


def _json(path: Path) -> Record | None:
    try:
        record = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def _base(record: Mapping[str, Any]) -> tuple[str, str]:
    """Split the base model into its name and its revision."""
    name, _, revision = str(record["base"]).rpartition("@")
    return name, revision


# Any: the tree of settings, which is imported when a command needs it.
def _settings(
    record: Mapping[str, Any],
    folder: Path,
    model: str | None,
    config: Path | None,
    overrides: tuple[str, ...],
) -> Any:  # noqa: ANN401
    """Resolve the settings that open the adapter's base model with it."""
    from visuallens.config import load_settings

    chosen = backbone_overrides(str(record["family"]), folder)
    name = model or (_base(record)[0] if "/" in _base(record)[0] else None)
    given = any(one.partition("=")[0].strip() == "backbone.model" for one in overrides)
    if name is not None and not given:
        chosen = (*chosen, f"backbone.model={json.dumps(name)}")
    return load_settings(config, (*overrides, *chosen))


def _refuse_full(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise click.BadParameter(f"{out} is there already; choose a new folder", param_hint="--out")


def _take_place(part: Path, out: Path) -> None:
    if out.exists():
        out.rmdir()
    part.rename(out)


def _refuse_new_labels(record: Mapping[str, Any], folder: Path) -> None:
    from visuallens.errors import AdapterError

    if record["labels"]["kind"] == "new":
        raise AdapterError(
            str(record["base"]),
            folder,
            "its labels <I1> ... <I100> were added to the vocabulary, and servers such as vLLM "
            "load a LoRA into the vocabulary that they have",
            "Merge it and serve the merged model: "
            f"visuallens adapters merge {quote(str(folder))} --out MERGED. Or train with "
            "--set training.joint.labels=letters.",
        )


def _tokenizer_files(family: str, model: str | None) -> list[Path]:
    """Find the tokenizer of a base model, without loading its weights."""
    from visuallens import registry
    from visuallens.config import BackboneSettings

    opener = registry.load("backbones", family)
    source = opener.find(opener.family, BackboneSettings(name=family, model=model))
    return sorted({file for name in _TOKENIZER_FILES for file in source.folder.glob(name)})


def _beside_lora(file: Path) -> list[str]:
    """Name the modules of an adapter that are no LoRA matrices."""
    from safetensors import safe_open

    with safe_open(file, "np") as opened:
        names = [name for name in opened.keys() if ".lora_" not in name]  # noqa: SIM118 - no mapping
    return sorted({name.removeprefix("base_model.model.").rpartition(".")[0] for name in names})


def _serving(record: Mapping[str, Any], out: Path) -> dict[str, str]:
    """Say how a merged model is served and asked."""
    place, family, kind = quote(str(out)), record["family"], record["labels"]["kind"]
    here = (
        f"visuallens recommend QUESTION --candidates FILE --backbone {family} "
        f"--set backbone.model={place}"
    )
    # Servers know neither our own architecture nor tokens that they do not show.
    if family == "nano" or kind == "reserved":
        return {"ask": here}
    labels = " --set matching.labels=new" if kind == "new" else ""
    return {
        "serve": f"vllm serve {place}",
        "ask": "visuallens recommend QUESTION --candidates FILE --backbone server "
        f"--set backbone.model={place}{labels}",
    }
