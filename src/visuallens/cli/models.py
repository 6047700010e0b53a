"""`visuallens models`: which backbones and encoders there are, what they need; fetching them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from visuallens.cli.options import print_json

if TYPE_CHECKING:
    from visuallens.models.backbones.loading import Published

_PACKAGED = "packaged"
_ROW = "{name:14} {model:40} {size:>6} {memory:>8} {image:>6}  {licence:28} {needs}"


@click.group(invoke_without_command=True)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(context: click.Context, as_json: bool) -> None:
    """List the backbones and encoders: size, memory, licence, and what else each needs."""
    if context.invoked_subcommand is not None:
        return
    backbones, encoders = _records("backbones"), _records("models")
    if as_json:
        print_json({"backbones": backbones, "encoders": encoders})
        return
    for kind, records in (("backbone", backbones), ("encoder", encoders)):
        click.echo(_header(kind))
        for record in records:
            click.echo(_line(record, kind))
        click.echo()
    click.echo(
        "Memory is a rough figure for 16-bit weights. Fetch one with: visuallens models pull NAME"
    )


@command.command()
@click.argument("name")
@click.option("--model", help="Model id, if not the first of the family.")
@click.option("--revision", help="Commit; needed where the model brings code of its own.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def pull(name: str, model: str | None, revision: str | None, as_json: bool) -> None:
    """Fetch the weights of a backbone or encoder from the hub: safetensors and configuration."""
    from visuallens import registry
    from visuallens.config import BackboneSettings, EncoderSettings
    from visuallens.models.backbones.loading import pull as fetch

    kind = "models" if name in registry.names("models") else "backbones"
    family = _family(kind, name)
    if family is None or family.checkpoints[0].model == _PACKAGED:
        raise click.UsageError(f"There is nothing to fetch for {name!r}.")
    section = EncoderSettings if kind == "models" else BackboneSettings
    folder = fetch(family, section(model=model, revision=revision))
    if as_json:
        print_json({_word(kind): name, "folder": str(folder)})
    else:
        click.echo(f"Fetched to {folder}")


def _word(kind: str) -> str:
    return {"backbones": "backbone", "models": "encoder"}[kind]


def _family(kind: str, name: str) -> Published | None:
    from visuallens import registry

    opener = registry.load(kind, name)
    family: Published | None = getattr(opener, "family", None)
    return family


def _records(kind: str) -> list[dict[str, object]]:
    from visuallens import registry

    without_weights: dict[str, dict[str, object]] = {
        "server": {"model": "any server with the OpenAI API"},
        "unimp": {"model": "trained on top of another backbone"},
        "embedded": {"model": _PACKAGED, "here": True},
        "drawn": {"model": "for synthetic photos only; has no weights", "here": True},
    }
    records: list[dict[str, object]] = []
    for name in registry.names(kind):
        family = _family(kind, name)
        if family is None:
            records.append({_word(kind): name, **without_weights.get(name, {"model": ""})})
            continue
        records += [
            {_word(kind): name, **_record(family, number)}
            for number in range(len(family.checkpoints))
        ]
    return records


def _record(family: Published, number: int) -> dict[str, object]:
    from visuallens.models.backbones.loading import is_here

    checkpoint = family.checkpoints[number]
    packaged = checkpoint.model == _PACKAGED
    return {
        "model": checkpoint.model,
        "default": number == 0,
        "parameters": checkpoint.parameters,
        "memory_gb": round(checkpoint.memory_gb, 1),
        "image_side_px": checkpoint.image_side_px,
        "max_tokens": checkpoint.max_tokens,
        "licence": checkpoint.licence,
        "gated": checkpoint.gated,
        "remote_code": checkpoint.remote_code,
        "here": packaged or is_here(family, checkpoint.model),
    }


def _header(kind: str) -> str:
    return _ROW.format(
        name=kind,
        model="model",
        size="size",
        memory="memory",
        image="image",
        licence="licence",
        needs="needs",
    )


def _line(record: dict[str, object], kind: str) -> str:
    if "parameters" not in record:
        return f"{record[kind]!s:14} {record['model']}"
    needs = [
        word
        for word, needed in (
            ("nothing", record["here"]),
            ("pull", not record["here"]),
            ("consent on the hub", record["gated"]),
            ("remote code", record["remote_code"]),
        )
        if needed
    ]
    return _ROW.format(
        name=str(record[kind]) if record["default"] else "",
        model=str(record["model"]),
        size=_size(float(str(record["parameters"]))),
        memory=f"{record['memory_gb']} GB",
        image=f"{record['image_side_px']}px" if record["image_side_px"] else "text",
        licence=str(record["licence"]),
        needs=", ".join(needs),
    ).rstrip()


def _size(parameters: float) -> str:
    return f"{parameters / 1e9:.1f}B" if parameters >= 1e9 else f"{parameters / 1e6:.0f}M"
