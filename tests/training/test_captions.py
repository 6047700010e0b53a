"""Stage 1 on a tiny nano: what an example is, what is measured, two steps of the command."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from tests.models.backbones import tiny_nano

from visuallens.cli.train.captions import command
from visuallens.config import (
    BackboneSettings,
    LoopSettings,
    LoraSettings,
    ProfileSettings,
    load_settings,
)
from visuallens.config.training import CaptionTrainingSettings
from visuallens.errors import AdapterError, TrainingError
from visuallens.models.backbones.adapters import save_adapter
from visuallens.models.backbones.local import LocalBackbone
from visuallens.prompts import (
    aspect_prompt,
    multi_image_answer,
    multi_image_prompt,
    short_caption,
)
from visuallens.training.adapted import open_adapted
from visuallens.training.captioned import CaptionedPhoto
from visuallens.training.captions import CaptionPlan, CaptionTask, train_captions
from visuallens.training.grounding import grounding
from visuallens.training.log import read_log

COLOURS = {
    "red": (220, 20, 20),
    "green": (20, 160, 40),
    "blue": (20, 40, 200),
    "white": (250, 250, 250),
    "black": (10, 10, 10),
    "yellow": (240, 230, 20),
}
LOOP = LoopSettings(
    steps=2,
    batch_size=2,
    accumulation=1,
    warmup_steps=1,
    evaluate_every=2,
    learning_rate=1e-3,
    tensorboard=False,
)
SMALL = CaptionTrainingSettings(grid_sides=(2,), dev_grids=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "nano"
    tiny_nano.write(path)
    return path


def settings(folder: Path, adapter: Path | None = None) -> BackboneSettings:
    return BackboneSettings(name="nano", model=str(folder), device="cpu", adapter=adapter)


def opened(folder: Path, adapter: Path | None = None) -> LocalBackbone:
    lora = LoraSettings(rank=2, alpha=2, dropout=0.0)
    return open_adapted(settings(folder, adapter), lora, "new", "fenced", seed=0)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[CaptionedPhoto]:
    """One photo of each colour, with two captions."""
    place = tmp_path_factory.mktemp("photos")
    found = []
    for name, colour in COLOURS.items():
        path = place / f"{name}.png"
        Image.new("RGB", (64, 48), colour).save(path)
        found.append(CaptionedPhoto(name, path, (f"All {name} .", f"A {name} wall.")))
    return found


def planned(photos: list[CaptionedPhoto], **changes: object) -> CaptionPlan:
    chosen = SMALL.model_copy(update=changes)
    profile = ProfileSettings(image_side_px=64)
    return CaptionPlan(photos[:4], photos[4:], chosen, profile, seed=1)


@pytest.fixture
def task(folder: Path, photos: list[CaptionedPhoto]) -> CaptionTask:
    return CaptionTask(opened(folder), planned(photos), grid_side=2)


def test_the_answer_is_that_of_the_paper() -> None:
    captions = [short_caption(text, 5) for text in ("A dog runs .", "One two three four five six")]
    expected = "Image 1: A dog runs, Image 2: One two three four five"
    assert multi_image_answer(captions) == expected
    assert "4 numbered photos" in multi_image_prompt(4)
    assert "Image 2" not in multi_image_prompt(1)
    assert short_caption("<image>\n ...", 5) == "\u2039image\u203a"


def test_a_grid_shows_the_photos_that_its_captions_tell_of(task: CaptionTask) -> None:
    for example in range(4):
        sheet = task._sheet(example, seed=7)
        assert sheet.grid.grid_side == 2
        words = [re.findall("|".join(COLOURS), caption) for caption in sheet.captions]
        names = [word for (word,) in words]
        assert list(COLOURS)[example] in names
        assert len(set(names)) == 4
        for number, name in enumerate(names):
            row, column = divmod(number, 2)
            assert sheet.grid.image.getpixel((column * 32 + 24, row * 32 + 24)) == COLOURS[name]


def test_places_partners_and_captions_change_with_the_seed(task: CaptionTask) -> None:
    drawn = {task._sheet(0, seed).captions for seed in range(20)}
    assert len(drawn) > 10
    assert len({captions.index(next(c for c in captions if "red" in c)) for captions in drawn}) == 4


def test_a_loss_depends_on_seed_and_example_alone(task: CaptionTask) -> None:
    with torch.no_grad():
        together = task.losses([0, 1, 3], seed=5).each
        alone = torch.cat([task.losses([example], seed=5).each for example in (0, 1, 3)])
        other = task.losses([0, 1, 3], seed=6).each
    np.testing.assert_allclose(together, alone, rtol=1e-4)
    assert not torch.allclose(together, other)


def test_fewer_photos_than_cells_leave_the_rest_black(
    folder: Path, photos: list[CaptionedPhoto]
) -> None:
    task = CaptionTask(opened(folder), planned(photos), grid_side=3)
    sheet = task._sheet(0, seed=0)
    assert len(sheet.captions) == 4
    assert sheet.grid.image.getpixel((60, 60)) == (0, 0, 0)


def test_of_a_photo_with_tags_half_the_examples_ask_for_aspect_words(
    folder: Path, photos: list[CaptionedPhoto]
) -> None:
    tagged = replace(photos[0], captions=("red, wall, paint",), aspects=("red, wall, paint",))
    task = CaptionTask(opened(folder), planned([tagged, *photos[1:]]), grid_side=2)
    sheets = [task._sheet(0, seed) for seed in range(40)]
    alone = [sheet for sheet in sheets if sheet.asks_aspects]
    assert 12 <= len(alone) <= 28
    assert {sheet.prompt for sheet in alone} == {aspect_prompt()}
    orders = {", ".join(order) for order in permutations(("red", "wall", "paint"))}
    assert {sheet.answer for sheet in alone} <= orders
    assert len({sheet.answer for sheet in alone}) > 2
    assert {sheet.grid.grid_side for sheet in alone} == {1}
    assert alone[0].grid.image.getpixel((3, 3)) == COLOURS["red"]  # no number
    grids = [sheet for sheet in sheets if not sheet.asks_aspects]
    assert all(len(orders.intersection(sheet.captions)) == 1 for sheet in grids)
    assert not any(task._sheet(1, seed).asks_aspects for seed in range(10))
    together = task.losses([0, 1], seed=0).each  # grids and single photos in one forward pass
    assert bool(together.isfinite().all())


def test_dev_is_measured_on_its_own_photos_the_same_each_time(task: CaptionTask) -> None:
    with torch.no_grad():
        found = task.evaluate()
        assert found == task.evaluate()
    assert found["chance"] == 0.5  # two dev photos
    assert (found["grids"], found["asked"]) == (2, 4)
    assert found["score"] == found["matched"]
    for number in range(5):
        sheets, _ = task._asked(np.random.default_rng(number))
        assert not re.search("red|green|blue|white", " ".join(sheets[0].captions))


def test_single_photos_are_asked_for_beside_others(
    folder: Path, photos: list[CaptionedPhoto]
) -> None:
    task = CaptionTask(opened(folder), planned(photos), grid_side=1)
    sheets, cells = task._asked(np.random.default_rng(0))
    assert len(sheets) == len(cells) == 2
    assert [cell.number for cell in cells] == [1, 1]
    assert cells[0].grid is not cells[1].grid


def test_of_a_larger_grid_some_cells_are_asked_for(
    folder: Path, photos: list[CaptionedPhoto]
) -> None:
    plan = planned(photos, dev_cells=3)
    swapped = CaptionPlan(plan.dev, plan.train, plan.settings, plan.profile)
    _, cells = CaptionTask(opened(folder), swapped, 2)._asked(np.random.default_rng(0))
    assert len(cells) == 3
    assert len({cell.number for cell in cells}) == 3
    assert {cell.photos for cell in cells} == {4}


def test_grounding_is_counted_both_ways() -> None:
    # The second caption is likeliest for both cells, most of all for its own. Its mean over the
    # cells is -0.75 and that of the first -2.5, so the centred scores are +-0.375, right each time.
    both = np.array([[-2.0, -1.0], [-3.0, -0.5]], np.float32)
    assert grounding([both]) == {
        "caption_of_cell": 0.5,
        "cell_of_caption": 1.0,
        "matched": 1.0,
        "chance": 0.5,
        "asked": 2.0,
    }


def test_captions_and_numbers_that_are_likely_anyway_show_no_grounding() -> None:
    captions = np.array([-1.0, -2.5, -3.1, -0.7], np.float32)
    numbers = np.array([0.1, 0.33, -0.2, 0.0], np.float32)
    found = grounding([captions[None, :] + numbers[:, None]])
    assert found["caption_of_cell"] == found["cell_of_caption"] == found["chance"] == 0.25
    assert found["matched"] == 0.25


def test_training_lowers_the_loss(
    folder: Path, photos: list[CaptionedPhoto], tmp_path: Path
) -> None:
    lora = LoraSettings(rank=16, alpha=32, dropout=0.0)
    backbone = open_adapted(settings(folder), lora, "letters", "fenced", seed=0)
    loop = LOOP.model_copy(update={"steps": 12, "learning_rate": 1e-2, "evaluate_every": 12})
    train_captions(backbone, planned(photos), loop, tmp_path)
    steps = [line["loss"] for line in read_log(tmp_path / "side-2") if line["kind"] == "step"]
    assert np.mean(steps[-3:]) < np.mean(steps[:3]) - 1


def test_labels_rest_while_captions_are_learned(
    folder: Path, photos: list[CaptionedPhoto], tmp_path: Path
) -> None:
    """No caption names a candidate; stage 3 finds their rows as they were, ready to be trained."""
    backbone = opened(folder)
    weights = dict(backbone.parts.model.named_parameters())
    ((name, rows),) = [item for item in weights.items() if "trainable_tokens_delta" in item[0]]
    before = rows.detach().clone()
    train_captions(backbone, planned(photos), LOOP, tmp_path)
    assert torch.equal(rows, before)
    assert rows.requires_grad
    trained = dict(opened(folder, tmp_path / "model").parts.model.named_parameters())
    assert torch.equal(trained[name], before)
    assert trained[name].requires_grad


def test_what_the_projector_learned_is_in_the_adapter(folder: Path, tmp_path: Path) -> None:
    backbone = opened(folder)
    features = torch.randn((3, 1280), generator=torch.Generator().manual_seed(0))
    parts: list[torch.Tensor] = []
    with torch.no_grad():
        for name, weight in backbone.parts.model.named_parameters():
            if "projector" in name and weight.requires_grad:
                weight.add_(0.01 * torch.randn_like(weight))
                parts.append(weight)
        save_adapter(backbone, tmp_path, {})
        first, then, again = (
            one.parts.model.get_base_model().projector(features)
            for one in (opened(folder), backbone, opened(folder, tmp_path))
        )
    assert len(parts) == 10  # classes, names, norm and the two layers of what they miss
    assert not torch.allclose(first, then)
    torch.testing.assert_close(then, again)


def test_the_curriculum_goes_on_from_side_to_side(
    folder: Path, photos: list[CaptionedPhoto], tmp_path: Path
) -> None:
    plan = planned(photos, grid_sides=(1, 2))
    backbone = opened(folder)
    lessons = train_captions(backbone, plan, LOOP, tmp_path)
    assert [lesson.grid_side for lesson in lessons] == [1, 2]
    with torch.no_grad():
        before = CaptionTask(opened(folder, tmp_path / "side-1" / "model"), plan, 2).evaluate()
    assert lessons[1].before == pytest.approx(dict(before))
    trained = opened(folder, tmp_path / "model")
    with torch.no_grad():
        after = CaptionTask(trained, plan, 2).evaluate()
    assert lessons[1].after == pytest.approx(dict(after))
    # Given again, the same command finds everything done.
    again = train_captions(opened(folder), plan, LOOP, tmp_path)
    assert [lesson.after for lesson in again] == [lesson.after for lesson in lessons]
    other = planned(photos[::-1], grid_sides=(1, 2))
    with pytest.raises(TrainingError, match="other photos"):
        train_captions(opened(folder), other, LOOP, tmp_path)


def test_a_photo_that_vanished_is_named(
    folder: Path, photos: list[CaptionedPhoto], tmp_path: Path
) -> None:
    gone = CaptionedPhoto("gone", tmp_path / "gone.jpg", ("x",))
    task = CaptionTask(opened(folder), planned([gone, *photos[1:]]), grid_side=2)
    with pytest.raises(TrainingError, match=r"gone\.jpg cannot be opened any more"):
        task.losses([0], seed=0)


def test_captions_that_do_not_fit_say_what_to_change(
    folder: Path, photos: list[CaptionedPhoto]
) -> None:
    long = [CaptionedPhoto(photo.id, photo.path, ("metal " * 5000,)) for photo in photos]
    task = CaptionTask(opened(folder), planned(long, max_words=5000), grid_side=2)
    with pytest.raises(TrainingError, match="max_words"):
        task.losses([0], seed=0)


def test_the_configuration_of_nano_is_read() -> None:
    found = load_settings(Path(__file__).parents[2] / "configs" / "nano-captions.toml")
    assert found.backbone.name == "nano"
    assert found.training.captions.grid_sides[-1] == 4
    loop = found.training.loop
    assert loop.steps // loop.evaluate_every >= 8


def test_a_server_cannot_be_trained() -> None:
    server = BackboneSettings.model_validate(
        {"name": "server", "model": "m", "server": {"url": "http://127.0.0.1:9/v1"}}
    )
    with pytest.raises(TrainingError, match="not on this machine"):
        open_adapted(server, LoraSettings(), "letters", "fenced", seed=0)


def test_an_adapter_of_nothing_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(AdapterError):
        opened(folder, tmp_path)


def test_the_command_trains_and_goes_on(
    folder: Path, photos: list[CaptionedPhoto], tmp_path: Path
) -> None:
    table = tmp_path / "captions.csv"
    rows = [f"{photo.path},{text}" for photo in photos for text in photo.captions]
    table.write_text("\n".join(["image,caption", *rows, "gone.jpg,x"]) + "\n", encoding="utf-8")
    values = {
        "backbone.model": json.dumps(str(folder)),
        "training.captions.grid_sides": "[1, 2]",
        "training.captions.dev_grids": "1",
        "training.lora.rank": "2",
        "profile.image_side_px": "64",
        **{f"training.loop.{key}": json.dumps(value) for key, value in LOOP if value is not None},
    }
    chosen = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
    arguments = [
        "--data",
        str(table),
        "--backbone",
        "nano",
        "--out",
        str(tmp_path / "run"),
        *chosen,
    ]
    first = CliRunner().invoke(command, [*arguments, "--json"], catch_exceptions=False)
    found = json.loads(first.stdout)
    assert found["photos"] == {"train": 4, "dev": 2}
    assert found["left_out"] == {"rows name a photo that is missing": 1}
    assert [side["steps"] for side in found["sides"]] == [2, 2]
    assert {"loss", "chance", "caption_of_cell"} <= found["sides"][1]["after"].keys()
    assert len([line for line in read_log(tmp_path / "run/side-2") if line["kind"] == "step"]) == 2
    opened(folder, tmp_path / "run" / "model")
    again = CliRunner().invoke(command, arguments, catch_exceptions=False)
    assert "4 for training, 2 for dev" in again.stdout
    assert "--adapter" in again.stdout
