from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from tests.benchmark.genuine import (
    FILM,
    GOOGLE_BUSINESS,
    GOOGLE_REVIEW,
    YELP_BUSINESS,
    YELP_PHOTO,
    YELP_REVIEW,
    line,
    opened,
)

from visuallens.benchmark.base import Business, BusinessPhoto, MalformedRowError, Review, Table
from visuallens.benchmark.datasets.google import opaque
from visuallens.errors import RawDataError

# --- Google Local -----------------------------------------------------------------------------


def test_google_reads_a_genuine_review() -> None:
    read = opened("google-review-v").read("reviews", line(GOOGLE_REVIEW))
    business_id = opaque("0x80c2c778e3b73d33:0xbdc58662a4a97d49")
    assert read == Review("108991152262655788985", business_id, 1609909927056, [])


@pytest.mark.parametrize(
    ("pics", "photos"),
    [
        (None, []),
        ([], []),
        ([{"url": ["https://a=w150-h150"]}], ["https://a=w150-h150"]),
        ([{"url": ["https://a=w150", "https://a=s1200"]}, {"url": ["https://b"]}],
         ["https://a=w150", "https://b"]),
        ([{"url": []}, {"url": None}, {}, None, {"url": [None]}, {"url": [""]}], []),
    ],
)  # fmt: skip
def test_google_takes_the_first_url_of_each_picture(pics: object, photos: list[str]) -> None:
    read = opened("google-review-v").read("reviews", line(GOOGLE_REVIEW, pics=pics))
    assert isinstance(read, Review)
    assert list(read.photos) == photos


def test_ids_of_neighbouring_google_places_have_nothing_in_common() -> None:
    one, other = (opaque(f"0x88f16e41928ff687:0x{n}") for n in (1, 2))
    assert one == opaque("0x88f16e41928ff687:0x1")
    assert one[:4] != other[:4]


@pytest.mark.parametrize("time", [1609909927056, 1609909927056.0])
def test_google_reads_whole_times_however_they_are_written(time: float) -> None:
    read = opened("google-review-v").read("reviews", line(GOOGLE_REVIEW, time=time))
    assert isinstance(read, Review)
    assert (read.at_ms, type(read.at_ms)) == (1609909927056, int)


def test_google_reads_a_business_whatever_is_null_or_absent() -> None:
    google = opened("google-review-v")
    assert google.read("businesses", line(GOOGLE_BUSINESS)) == Business(
        opaque("0x88f16e41928ff687:0x883dad4fd048e8f8"),
        "Porter Pharmacy", "", ["Pharmacy"], 32.3883, -83.3571, 4.9, 16,
        "0x88f16e41928ff687:0x883dad4fd048e8f8",
    )  # fmt: skip
    gmap_id = "0x88f16e41928ff687:0x883dad4fd048e8f8"
    bare = Business(opaque(gmap_id), None, tags=[], source_id=gmap_id)
    for nothing in (None, "absent"):
        nulls = dict.fromkeys(GOOGLE_BUSINESS, nothing) | {"gmap_id": GOOGLE_BUSINESS["gmap_id"]}
        assert google.read("businesses", line(GOOGLE_BUSINESS, **nulls)) == bare


@pytest.mark.parametrize(
    ("table", "text", "reason"),
    [
        ("reviews", line(GOOGLE_REVIEW, user_id=None), "no user_id"),
        ("reviews", line(GOOGLE_REVIEW, user_id=""), "no user_id"),
        ("reviews", line(GOOGLE_REVIEW, gmap_id="absent"), "no gmap_id"),
        ("reviews", line(GOOGLE_REVIEW, time=None), "no time"),
        ("reviews", line(GOOGLE_REVIEW, time="1609909927056"), "wrong type of time"),
        ("reviews", line(GOOGLE_REVIEW, time=10**30), "time out of range"),
        ("reviews", line(GOOGLE_REVIEW, time=-(10**30)), "time out of range"),
        ("reviews", line(GOOGLE_REVIEW, time=float("nan")), "not JSON"),
        ("reviews", line(GOOGLE_REVIEW, pics="a"), "wrong type of pics"),
        ("reviews", line(GOOGLE_REVIEW, pics=[{"url": "https://a"}]), "wrong type of pics"),
        ("reviews", line(GOOGLE_REVIEW)[:60], "not JSON"),
        ("reviews", b'{"user_id": "\xff"}', "not JSON"),
        ("reviews", b'{"user_id": "\\ud800"}', "not JSON"),
        ("reviews", line([1]), "not an object"),
        ("reviews", line(None), "not an object"),
        ("businesses", line(GOOGLE_BUSINESS, gmap_id=None), "no gmap_id"),
        ("businesses", line(GOOGLE_BUSINESS, category="Pharmacy"), "wrong type of category"),
        ("businesses", line(GOOGLE_BUSINESS, latitude="32"), "wrong type of latitude"),
    ],
)  # fmt: skip
def test_google_says_why_a_row_is_malformed(table: Table, text: bytes, reason: str) -> None:
    with pytest.raises(MalformedRowError) as caught:
        opened("google-review-v").read(table, text)
    assert str(caught.value) == reason


@pytest.mark.parametrize("time", [253_402_300_800_000, 1_600_000_000_000_000, -(10**17)])
def test_a_time_that_no_calendar_has_is_malformed(time: int) -> None:
    # The year 10000; microseconds taken for milliseconds; before the year 1.
    with pytest.raises(MalformedRowError, match="time out of range"):
        opened("google-review-v").read("reviews", line(GOOGLE_REVIEW, time=time))


@pytest.mark.parametrize("name", ["google-review-v", "yelp-v"])
@pytest.mark.parametrize(
    ("latitude", "longitude", "kept"),
    [
        (90, 180, True), (-90, -180, True), (0, 0, True),
        (90.01, 0, False), (0, -180.01, False), (1e300, 0, False), (None, 5, False),
        (5, None, False),
    ],
)  # fmt: skip
def test_a_position_off_the_earth_is_none(
    name: str, latitude: float | None, longitude: float | None, kept: bool
) -> None:
    row = GOOGLE_BUSINESS if name == "google-review-v" else YELP_BUSINESS
    read = opened(name).read("businesses", line(row, latitude=latitude, longitude=longitude))
    assert isinstance(read, Business)
    assert (read.latitude, read.longitude) == ((latitude, longitude) if kept else (None, None))


def state_files(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


def test_google_finds_the_files_of_every_state(tmp_path: Path) -> None:
    state_files(
        tmp_path, "review-Ohio.json", "meta-Ohio.json.gz", "review-New_York.json.gz",
        "meta-New_York.json", "README.md",
    )  # fmt: skip
    found = [(one.path.name, one.table) for one in opened("google-review-v", tmp_path).files()]
    assert found == [
        ("meta-New_York.json", "businesses"), ("meta-Ohio.json.gz", "businesses"),
        ("review-New_York.json.gz", "reviews"), ("review-Ohio.json", "reviews"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ((), "there is no review-STATE"),
        (("review-Ohio.json.gz",), "meta-Ohio.json.gz: this file is missing"),
        (("meta-Ohio.json.gz",), "review-Ohio.json.gz: this file is missing"),
        (("review-A.json", "meta-B.json"), "this file is missing"),
        (("review-Ohio.json", "review-Ohio.json.gz", "meta-Ohio.json"), "Keep one of the two"),
    ],
)
def test_google_refuses_half_a_state(tmp_path: Path, names: tuple[str, ...], words: str) -> None:
    with pytest.raises(RawDataError, match=words):
        opened("google-review-v", state_files(tmp_path, *names)).files()


# --- Yelp -------------------------------------------------------------------------------------


def test_yelp_reads_genuine_rows() -> None:
    yelp = opened("yelp-v")
    # 2018-07-07 22:09:11 UTC is 1,531,001,351 s after 1970.
    assert yelp.read("reviews", line(YELP_REVIEW)) == Review(
        "mh_-eMZ6K5RLWhZyISBhwA", "XQfwVwDr-v0ZS3_CbbE5Xw", 1531001351000
    )
    assert yelp.read("businesses", line(YELP_BUSINESS)) == Business(
        "M-6AXSgmDMYcWsF442mzzA", "Seither's Seafood", "Seafood, Restaurants",
        ["Seafood", "Restaurants"], 29.9409121, -90.1945607, 4.5, 338,
    )  # fmt: skip
    assert yelp.read("photos", line(YELP_PHOTO)) == BusinessPhoto(
        "zsvj7vloL4L5jhYyPIuVwg", "Nk-SJhPlDBkAZvfsADtccA", "zsvj7vloL4L5jhYyPIuVwg.jpg",
        "Nice rock artwork",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("categories", "tags"),
    [(None, []), ("", []), (" , ,", []), ("Delis", ["Delis"]), ("A B ,  C", ["A B", "C"])],
)
def test_yelp_splits_its_categories(categories: str | None, tags: list[str]) -> None:
    read = opened("yelp-v").read("businesses", line(YELP_BUSINESS, categories=categories))
    assert isinstance(read, Business)
    assert (read.tags, read.description) == (tags, ", ".join(tags))


def test_a_yelp_photo_may_lack_its_caption() -> None:
    read = opened("yelp-v").read("photos", line(YELP_PHOTO, caption=None))
    assert isinstance(read, BusinessPhoto)
    assert read.caption == ""


@pytest.mark.parametrize(
    ("table", "text", "reason"),
    [
        ("reviews", line(YELP_REVIEW, date=None), "no date"),
        ("reviews", line(YELP_REVIEW, date=""), "no date"),
        ("reviews", line(YELP_REVIEW, date="yesterday"), "date not understood"),
        ("reviews", line(YELP_REVIEW, date="2018-02-30 00:00:00"), "date not understood"),
        ("reviews", line(YELP_REVIEW, date=1531001351), "wrong type of date"),
        ("reviews", line(YELP_REVIEW, user_id=None), "no user_id"),
        ("reviews", line(YELP_REVIEW, business_id="absent"), "no business_id"),
        ("businesses", line(YELP_BUSINESS, business_id=None), "no business_id"),
        ("businesses", line(YELP_BUSINESS, categories=["Bars"]), "wrong type of categories"),
        ("photos", line(YELP_PHOTO, photo_id=None), "no photo_id"),
        ("photos", line(YELP_PHOTO, business_id=""), "no business_id"),
        ("photos", b"{", "not JSON"),
    ],
)
def test_yelp_says_why_a_row_is_malformed(table: Table, text: bytes, reason: str) -> None:
    with pytest.raises(MalformedRowError) as caught:
        opened("yelp-v").read(table, text)
    assert str(caught.value) == reason


def test_yelp_finds_files_by_either_name(tmp_path: Path) -> None:
    state_files(tmp_path, "business.json.gz", "yelp_academic_dataset_review.json", "photos.json.gz")
    found = {one.table: one.path.name for one in opened("yelp-v", tmp_path).files()}
    assert found == {
        "businesses": "business.json.gz",
        "reviews": "yelp_academic_dataset_review.json",
        "photos": "photos.json.gz",
    }


def test_yelp_refuses_one_table_in_two_files(tmp_path: Path) -> None:
    state_files(tmp_path, "business.json", "review.json", "review.json.gz", "photos.json")
    with pytest.raises(RawDataError, match=r"review\.json\.gz: review\.json is the same file"):
        opened("yelp-v", tmp_path).files()


def test_yelp_names_the_missing_file(tmp_path: Path) -> None:
    state_files(tmp_path, "business.json", "review.json")
    with pytest.raises(RawDataError, match=r"photos\.json: this file is missing"):
        opened("yelp-v", tmp_path).files()


@pytest.mark.data
def test_yelp_reads_every_real_row(data: Path) -> None:
    yelp = opened("yelp-v")
    rows = (data / "yelp" / "business.json").read_bytes().splitlines()
    assert len(rows) == 36_680
    read = [yelp.read("businesses", row) for row in rows]
    assert sum(isinstance(one, Business) and one.latitude is not None for one in read) == 36_680
    newer = (data / "yelp" / "business_newer_schema_sample.json").read_bytes().splitlines()
    assert all(isinstance(yelp.read("businesses", row), Business) for row in newer if row.strip())
    photos = (data / "yelp" / "photos.json").read_bytes().splitlines()
    for row in photos:
        photo = yelp.read("photos", row)
        assert isinstance(photo, BusinessPhoto)
        assert (data / "yelp" / "photos" / photo.path).is_file()


# --- MovieLens --------------------------------------------------------------------------------


@pytest.fixture
def films(tmp_path: Path) -> Path:
    (tmp_path / "posters").mkdir()
    return state_files(tmp_path, "ratings.csv", "movies.jsonl", "posters/1.jpg")


def test_movielens_reads_genuine_rows(films: Path) -> None:
    movielens = opened("movielens-v", films)
    assert movielens.read("reviews", b"userId,movieId,rating,timestamp\r\n") is None
    assert movielens.read("reviews", b"mls-2016/1,2294,2.0,1260759108\n") == Review(
        "mls-2016/1", "2294", 1260759108000
    )
    assert movielens.read("businesses", line(FILM)) == Business(
        "1", "Toy Story (1995)", "A cowboy doll is jealous. 1995. USA",
        ["animation", "children's", "comedy"], rating=8.3,
    )  # fmt: skip
    assert movielens.read("photos", line(FILM)) == BusinessPhoto("1", "1", "1.jpg")


def test_a_film_without_a_poster_has_no_photo(films: Path) -> None:
    assert opened("movielens-v", films).read("photos", line(FILM, id=2)) is None


def test_the_description_names_genres_only_on_request() -> None:
    described = opened("movielens-v", genre_words=True).read("businesses", line(FILM))
    assert isinstance(described, Business)
    assert described.description.endswith("USA. animation, children's, comedy")


def test_a_film_may_lack_everything_but_its_id() -> None:
    nulls = dict.fromkeys(FILM, None) | {"id": 7}
    read = opened("movielens-v").read("businesses", line(FILM, **nulls))
    assert read == Business("7", None, "", [])
    odd = opened("movielens-v").read("businesses", line(FILM, imdbrating="N/A"))
    assert isinstance(odd, Business)
    assert odd.rating is None


@pytest.mark.parametrize(
    "text", [b"u,1,5.0", b"u,1,5.0,9,9", b"u,one,5.0,9", b"u,1,good,9", b"u,1,5,9.5", b"\xff,1,5,9"]
)
def test_movielens_refuses_malformed_ratings(text: bytes) -> None:
    with pytest.raises(MalformedRowError, match=r"not user,film|not UTF-8"):
        opened("movielens-v").read("reviews", text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"{", "not JSON"),
        (line(FILM, id="1"), "wrong type of id"),
        (line(FILM, genres="Comedy"), "wrong type of genres"),
        (line(FILM, imdbrating=8.3), "wrong type of imdbrating"),
    ],
)
@pytest.mark.parametrize("table", ["businesses", "photos"])
def test_movielens_says_why_a_film_is_malformed(table: Table, text: bytes, reason: str) -> None:
    with pytest.raises(MalformedRowError) as caught:
        opened("movielens-v").read(table, text)
    assert str(caught.value) == reason


@pytest.mark.parametrize("name", ["ratings.csv", "movies.jsonl"])
def test_movielens_names_the_missing_file(films: Path, name: str) -> None:
    assert len(opened("movielens-v", films).files()) == 3
    (films / name).unlink()
    with pytest.raises(RawDataError, match=f"{name}: this is missing"):
        opened("movielens-v", films).files()


@pytest.mark.data
def test_the_checksums_of_movielens_are_those_of_the_real_files(data: Path) -> None:
    folder = data / "movielens"
    movielens = opened("movielens-v", folder)
    for name, known in movielens.card.checksums.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == known
    rows = (folder / "movies.jsonl").read_bytes().splitlines()
    assert len([movielens.read("businesses", row) for row in rows]) == 3_872
    assert sum(movielens.read("photos", row) is not None for row in rows) == 3_872
