"""What is found at a path: versions and their marks, or why there are none."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from server.errors import StartupError
from server.folders import default_name, is_version, look, mark

TFLITE = b"\x1c\0\0\0TFL3"
HDF5 = b"\x89HDF\r\n\x1a\n"


def make_models(base: Path, folders: Iterable[str]) -> Path:
    """Folders with a file that is recognised as a model."""
    for folder in folders:
        (base / folder).mkdir(parents=True)
        (base / folder / "saved_model.pb").touch()
    return base


def found(path: Path) -> dict[int, Path]:
    return {version: seen.path for version, seen in look(path).items()}


@pytest.mark.parametrize(
    ("folders", "versions"),
    [
        (["1"], {1: "1"}),
        (["1", "2", "10"], {1: "1", 2: "2", 10: "10"}),
        (["9", "0010"], {9: "9", 10: "0010"}),
        (["0"], {0: "0"}),
        (["1", "latest", "v2", "2.5", "-3", "²"], {1: "1"}),
    ],
)
def test_numbered_folders_are_versions(
    tmp_path: Path, folders: list[str], versions: dict[int, str]
) -> None:
    base = make_models(tmp_path / "half", folders)
    assert found(base) == {version: base / folder for version, folder in versions.items()}


def test_a_numbered_folder_without_a_model_is_passed_over(tmp_path: Path) -> None:
    base = make_models(tmp_path / "half", ["1"])
    (base / "2").mkdir()
    (base / "3").touch()
    assert found(base) == {1: base / "1"}


@pytest.mark.parametrize(("folder", "version"), [("half", 1), ("7", 7), ("v7", 1)])
def test_a_model_itself_has_its_folders_number_or_1(
    tmp_path: Path, folder: str, version: int
) -> None:
    make_models(tmp_path, [folder])
    assert found(tmp_path / folder) == {version: tmp_path / folder}


@pytest.mark.parametrize("content", [TFLITE, HDF5])
def test_a_model_may_be_a_file_whatever_its_name(tmp_path: Path, content: bytes) -> None:
    for folder in ("half", "half/1", "half/2"):
        (tmp_path / folder).mkdir()
    for place in ("digits.model", "half/1/a", "half/2/b.bin"):
        (tmp_path / place).write_bytes(content)
    assert found(tmp_path / "digits.model") == {1: tmp_path / "digits.model"}
    assert found(tmp_path / "half" / "2" / "b.bin") == {2: tmp_path / "half" / "2" / "b.bin"}
    assert found(tmp_path / "half") == {v: tmp_path / "half" / str(v) for v in (1, 2)}


def test_a_function_is_its_own_only_version(tmp_path: Path) -> None:
    (seen,) = look(Path("some.module:predict")).values()
    assert (seen.path, seen.mark) == (Path("some.module:predict"), ())
    (tmp_path / "some:file").write_bytes(TFLITE)
    assert found(tmp_path / "some:file") == {1: tmp_path / "some:file"}


def test_what_holds_no_model_is_told_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    for name, why in [
        ("file", "is a file, but not a model: expected saved_model.pb, "),
        ("missing", "does not exist"),
        ("empty", "holds no model: expected saved_model.pb, "),
    ]:
        with pytest.raises(StartupError) as told:
            look(tmp_path / name)
        assert f"{tmp_path / name} {why}" in str(told.value)
        assert "\n" not in str(told.value)


def test_a_version_that_cannot_be_told_is_found_beside_the_others(tmp_path: Path) -> None:
    base = make_models(tmp_path, ["1", "2"])
    (base / "2" / "saved_model.pb").unlink()
    for name in ("a.tflite", "b.tflite"):
        (base / "2" / name).write_bytes(TFLITE)
    assert found(base) == {1: base / "1", 2: base / "2"}
    with pytest.raises(StartupError, match=r"several models.*: a\.tflite, b\.tflite"):
        look(base / "2")


def test_the_same_version_twice_is_told(tmp_path: Path) -> None:
    base = make_models(tmp_path, ["1", "001"])
    with pytest.raises(StartupError, match="version 1 is there twice: 001 and 1"):
        look(base)


def test_numbers_that_no_protocol_can_tell_are_no_versions(tmp_path: Path) -> None:
    base = make_models(tmp_path, ["1", str(2**63 - 1), str(2**63), "9" * 200])
    assert sorted(found(base)) == [1, 2**63 - 1]
    # No file system here has such names, but Python reads no numbers of so many digits.
    assert not is_version("9" * 5000)


def test_a_path_that_cannot_be_followed_is_told(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for path in (tmp_path / "loop", tmp_path / "a\0b"):
        with pytest.raises(StartupError, match=r"model path .* (cannot be read|does not exist)"):
            look(path)


# -------------------------------------------------------------------------------------------- marks


def test_a_link_that_leads_nowhere_hides_no_version(tmp_path: Path) -> None:
    base = make_models(tmp_path, ["1", "2"])
    (base / "2" / "assets").symlink_to(base / "missing")
    assert sorted(found(base)) == [1, 2]
    before = mark(base / "2")
    assert mark(base / "2") == before
    (base / "missing").touch()
    assert mark(base / "2") != before


def add(folder: Path) -> None:
    (folder / "variables").mkdir()
    (folder / "variables" / "variables.index").touch()


def grow(folder: Path) -> None:
    (folder / "saved_model.pb").write_bytes(b"longer")


def touch(folder: Path) -> None:
    os.utime(folder / "saved_model.pb", ns=(0, 0))


def remove(folder: Path) -> None:
    (folder / "saved_model.pb").unlink()


def rename(folder: Path) -> None:
    (folder / "saved_model.pb").rename(folder / "saved_model.pbtxt")


@pytest.mark.parametrize("change", [add, grow, touch, remove, rename])
def test_a_mark_changes_when_a_file_does(tmp_path: Path, change: Callable[[Path], None]) -> None:
    folder = make_models(tmp_path, ["1"]) / "1"
    before = mark(folder)
    assert mark(folder) == before
    change(folder)
    assert mark(folder) != before


def test_versions_that_are_known_need_no_mark(tmp_path: Path) -> None:
    base = make_models(tmp_path, ["1", "2"])
    seen = look(base, {1})
    assert seen[1].mark is None
    assert seen[2].mark == mark(base / "2")


# -------------------------------------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("half", "half"),
        ("half/1", "half"),
        ("a/half/00123", "half"),
        ("half.keras", "half"),
        ("half/1/anything.tflite", "half"),
    ],
)
def test_a_model_is_called_by_its_file_folder_or_base_folder(
    tmp_path: Path, path: str, name: str
) -> None:
    place = tmp_path / path
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.suffix:
        place.touch()
    assert default_name(place) == name


def test_a_function_is_called_by_its_module() -> None:
    assert default_name(Path("teams.iris:model.predict")) == "iris"


def test_a_model_in_the_working_folder_has_that_folders_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_models(tmp_path, ["half/5"])
    monkeypatch.chdir(tmp_path / "half" / "5")
    assert default_name(Path()) == "half"
    assert found(Path()) == {5: tmp_path / "half" / "5"}
