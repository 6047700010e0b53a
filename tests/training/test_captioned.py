"""Readers of photos with captions: DOCCI's folder, tables, tags; what is left out, and why."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from visuallens.errors import SourceError, TrainingError
from visuallens.training.captioned import Captioned, CaptionedPhoto, read_captioned, split_dev

MAX_PIXELS = 1_000_000


def draw(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def lines(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def read(*places: Path, tags: tuple[str, ...] = ()) -> Captioned:
    return read_captioned(places, max_pixels=MAX_PIXELS, tags=tags)


def captions(found: Captioned) -> dict[str, tuple[str, ...]]:
    return {photo.path.name: photo.captions for photo in found.photos}


def test_a_docci_folder_gives_its_training_photos(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        draw(tmp_path / "images" / name, ord(name[0]))
    row = {"example_id": "train_0", "split": "train", "image_file": "a.jpg"}
    lines(
        tmp_path / "docci_descriptions.jsonlines",
        {**row, "description": "A  low angle view\nof a kite."},
        {**row, "split": "test", "image_file": "b.jpg", "description": "Another."},
    )
    found = read(tmp_path)
    assert captions(found) == {"a.jpg": ("A low angle view of a kite.",)}
    assert found.left_out == {"rows are of another split": 1}


def test_a_csv_table_may_have_several_captions_of_a_photo(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg"):
        draw(tmp_path / "images" / name, ord(name[0]))
    table = tmp_path / "captions.csv"
    table.write_text('image,caption\na.jpg,"One, two ."\nb.jpg,Three\na.jpg,Four\n', "utf-8-sig")
    expected = {"a.jpg": ("One, two .", "Four"), "b.jpg": ("Three",)}
    assert captions(read(table)) == captions(read(tmp_path)) == expected


def test_json_lines_may_lie_beside_the_photos_and_list_captions(tmp_path: Path) -> None:
    draw(tmp_path / "a.jpg", 1)
    table = lines(tmp_path / "t.jsonl", {"image": "a.jpg", "caption": ["One", "Two", "One"]})
    assert captions(read(table)) == {"a.jpg": ("One", "Two")}


def test_tags_are_joined_into_a_caption_where_there_is_none(tmp_path: Path) -> None:
    draw(tmp_path / "images" / "a.jpg", 1)
    draw(tmp_path / "images" / "b.jpg", 2)
    table = lines(
        tmp_path / "photos.jsonl",
        {"id": "a.jpg", "isTags": ["Nachos", "Dip"], "containsTags": ["dip", "corn"]},
        {"id": "b.jpg", "isTags": ["soup"], "caption": "A soup"},
    )
    found = read(table, tags=("isTags", "containsTags"))
    assert captions(found) == {"a.jpg": ("nachos, dip, corn",), "b.jpg": ("A soup",)}
    aspects = {photo.path.name: photo.aspects for photo in found.photos}
    assert aspects == {"a.jpg": ("nachos, dip, corn",), "b.jpg": ()}
    assert captions(read(table)) == {"b.jpg": ("A soup",)}


def test_what_cannot_be_used_is_counted_and_left_out(tmp_path: Path) -> None:
    draw(tmp_path / "a.jpg", 1)
    (tmp_path / "broken.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:200])
    Image.new("RGB", (2000, 2000)).save(tmp_path / "huge.png")
    table = lines(
        tmp_path / "t.jsonl",
        *(
            {"image": name, "caption": "x"}
            for name in ("a.jpg", "broken.jpg", "huge.png", "no.jpg")
        ),
        {"image": "a.jpg", "caption": " ... "},
        {"image": "a\0.jpg", "caption": "x"},
        {"image": 3, "caption": "x"},
        {"caption": "x"},
        ["no", "row"],
    )
    with table.open("a", encoding="utf-8") as file:
        file.write('{"image": \n\n' + "[" * 5000 + "\n")
    found = read(table)
    assert captions(found) == {"a.jpg": ("x",)}
    assert found.left_out == {
        "rows have no image or no caption": 4,
        "rows cannot be read": 3,
        "rows name a photo that is missing": 1,
        "photos cannot be opened: truncated": 1,
        "photos cannot be opened: too_many_pixels": 1,
    }


def test_copies_of_a_photo_are_one(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 1)
    draw(tmp_path / "copy.png", 1)
    first = lines(tmp_path / "1.jsonl", {"image": "a.png", "caption": "One"})
    second = lines(tmp_path / "2.jsonl", {"image": "copy.png", "caption": "Two"})
    (photo,) = read(first, second, first).photos
    assert photo.captions == ("One", "Two")


def test_special_tokens_in_captions_are_harmless(tmp_path: Path) -> None:
    draw(tmp_path / "a.png", 1)
    table = lines(tmp_path / "t.jsonl", {"image": "a.png", "caption": "<image> a <|im_end|>"})
    (text,) = captions(read(table))["a.png"]
    assert not set("<>|") & set(text)


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("t.jsonl", b"", "the table is empty"),
        ("t.csv", b"picture,text\na.jpg,x\n", "1 rows have no image or no caption"),
        ("t.csv", b"image,caption\n\xff\xfe,x\n", "cannot be read"),
        ("t.jsonl", b'{"image": "a.jpg", "caption": "x"}\n', "1 rows name a photo that is missing"),
    ],
)
def test_a_table_without_any_photo_is_refused(
    tmp_path: Path, name: str, content: bytes, problem: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=problem):
        read(tmp_path / name)


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="cannot be read"):
        read(tmp_path / "gone.csv")
    with pytest.raises(SourceError, match="has none of"):
        read(tmp_path)


def some(count: int) -> list[CaptionedPhoto]:
    return [CaptionedPhoto(f"{at:03}", Path(f"{at}.jpg"), ("x",)) for at in range(count)]


def test_dev_photos_are_no_training_photos() -> None:
    photos = some(100)
    train, dev = split_dev(photos, 0.05, seed=3)
    assert (len(train), len(dev)) == (95, 5)
    assert sorted(photo.id for photo in (*train, *dev)) == [photo.id for photo in photos]
    assert split_dev(photos, 0.05, seed=3) == (train, dev)
    assert split_dev(photos, 0.05, seed=4) != (train, dev)
    assert len(split_dev(some(4), 0.05, seed=0)[1]) == 2


def test_too_few_photos_are_refused() -> None:
    with pytest.raises(TrainingError, match="there are 3 photos"):
        split_dev(some(3), 0.05, seed=0)


@pytest.mark.data
def test_the_shared_data_is_read(data: Path) -> None:
    found = read_captioned([data / "flickr8k"], max_pixels=10**8)
    assert len(found.photos) > 700
    assert all(len(photo.captions) >= 3 for photo in found.photos)
    food = read_captioned(
        [data / "food_aspects"], max_pixels=10**8, tags=("isTags", "containsTags")
    )
    assert len(food.photos) > 700
