"""Atomic files and folders, cards, locks, ledgers."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from winnow.core import cards, files
from winnow.core.errors import Refusal


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(RuntimeError), files.atomic_file(path, "w") as file:
        file.write("new")
        raise RuntimeError
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_what_a_kill_left_of_a_file_is_written_over(tmp_path: Path) -> None:
    writing = "with files.atomic_file(Path('a.txt')): os.kill(os.getpid(), 9)"
    program = f"import os; from pathlib import Path; from winnow.core import files\n{writing}"
    assert subprocess.run([sys.executable, "-c", program], cwd=tmp_path).returncode == -9
    assert len(os.listdir(tmp_path)) == 1
    with files.atomic_file(tmp_path / "a.txt", "w") as file:
        file.write("new")
    assert os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_appears_whole_with_its_card_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with cards.publish_folder(target, {"stage": "score"}) as folder:
        (folder / "part").mkdir()
        (folder / "part/rows").write_text("rows")
    assert cards.is_complete(target)
    assert cards.read_card(target, "x")["files"].keys() == {"part/rows"}
    with pytest.raises(RuntimeError), cards.publish_folder(target, {}) as folder:
        raise RuntimeError
    assert cards.is_complete(target)
    assert os.listdir(tmp_path) == ["out"]
    (target / "part/rows").write_text("flip")
    assert not cards.is_complete(target)


def test_what_is_read_is_what_was_published(tmp_path: Path) -> None:
    target = tmp_path / "out"
    for damage in ("flip", "cut", "remove"):
        with cards.publish_folder(target, {"stage": "score"}) as folder:
            (folder / "rows").write_bytes(b"some rows")
        assert cards.read_card(target, "winnow score")["stage"] == "score"
        (target / "rows").write_bytes(b"sOme rows" if damage == "flip" else b"some")
        (target / "rows").chmod(0o444)
        if damage == "remove":
            (target / "rows").unlink()
        with pytest.raises(ValueError, match="out/rows is not what its card says.*`winnow score`"):
            cards.read_card(target, "winnow score")


CARDS = ["", "{}", "[]", "null", "7", "[" * 100_000, '{"files": {"rows": 3}, "folder": 1}', "{"]


@pytest.mark.parametrize("text", CARDS, ids=range(len(CARDS)))
def test_a_card_that_is_none_is_one_line(tmp_path: Path, text: str) -> None:
    with cards.publish_folder(tmp_path / "out", {"stage": "score"}) as folder:
        (folder / "rows").write_text("rows")
    (tmp_path / "out/card.json").write_text(text)
    with pytest.raises(Refusal, match="out/card.json is not what `winnow score` wrote"):
        cards.read_card(tmp_path / "out", "winnow score")
    assert not cards.is_complete(tmp_path / "out")
    assert not cards.is_made_of(tmp_path / "out", {})


def test_a_figure_on_a_card_cannot_be_changed(tmp_path: Path) -> None:
    with cards.publish_folder(tmp_path / "out", {"ledger": {"rows_out": 160}}):
        pass
    card = tmp_path / "out/card.json"
    card.write_text(card.read_text().replace("160", "161"))
    with pytest.raises(Refusal, match="out/card.json is not what `winnow score` wrote"):
        cards.read_card(tmp_path / "out", "winnow score")


def test_a_file_in_the_place_of_another_is_refused(tmp_path: Path) -> None:
    files.write_sealed(tmp_path / "one.json", {"seconds": 1})
    assert files.read_sealed(tmp_path / "one.json", "x") == {"seconds": 1}
    (tmp_path / "one.json").rename(tmp_path / "two.json")
    with pytest.raises(Refusal, match="two.json is not what `winnow score` wrote"):
        files.read_sealed(tmp_path / "two.json", "winnow score")


def test_a_folder_in_the_place_of_another_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("models/a/0", "models/b/0"):
        with cards.publish_folder(Path(name), {}):
            pass
    shutil.rmtree("models/a")
    Path("models/b").rename("models/a")
    with pytest.raises(Refusal, match="models/a/0 holds what belongs into models/b/0"):
        cards.read_card(Path("models/a/0"), "winnow train a --seed 0")


def test_what_is_not_read_is_not_checked(tmp_path: Path) -> None:
    with cards.publish_folder(tmp_path / "out", {}) as folder:
        for name in ("tier/rows", "tier_2/rows", "rows"):
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(name)
    for name in ("tier_2/rows", "rows"):
        (tmp_path / "out" / name).unlink()
    card = cards.read_card(tmp_path / "out", "winnow select", "tier")
    assert card["files"].keys() == {"tier/rows"}
    with pytest.raises(Refusal, match="out/tier_3 is missing: run `winnow select`"):
        cards.read_card(tmp_path / "out", "winnow select", "tier", "tier_3")
    with pytest.raises(Refusal, match="out/rows is not what its card says"):
        cards.read_card(tmp_path / "out", "winnow select")


def test_nan_is_refused() -> None:
    with pytest.raises(ValueError):
        files.dump({"loss": float("nan")})


HOLD = """
import time
from winnow.core import cards
with cards.lock("score"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_names_its_holder_and_dies_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    holder = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    assert holder.stdout and holder.stdout.readline() == "held\n"
    with pytest.raises(ValueError, match=f"in use by process {holder.pid}"), cards.lock("score"):
        pass
    holder.kill()
    holder.wait()
    with cards.lock("score"):
        pass


def test_an_unbalanced_ledger_is_an_error() -> None:
    ledger = cards.Ledger(rows_in=3, rows_out=1)
    ledger.dropped["why"] += 1
    with pytest.raises(AssertionError):
        ledger.close()
    ledger.held_out = 1
    assert ledger.close()["dropped"] == {"why": 1}
