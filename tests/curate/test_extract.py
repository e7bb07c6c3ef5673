"""Pages become their text; a page that no extractor can take costs its own row and no other."""

import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tiny import TINY, Winnow, corpus, write_jsonl, write_params

from benchmarks.extract import shingle_counts, shingle_figures
from winnow.core.records import content_hash
from winnow.curate import extract, steps

ENGINES = ("trafilatura", "resiliparse")
TEXT = "The sky is blue because air scatters the short waves of light more than the long ones. "


def page(*paragraphs: str, menu: str = "Home", title: str = "Sky") -> str:
    """A page with a menu and a footer around its text."""
    body = "".join(f"<p>{text}</p>" for text in paragraphs)
    return (
        f"<!DOCTYPE html><html><head><title>{title}</title></head><body><nav><a href=/>{menu}</a>"
        f"</nav><article>{body}</article><footer>Imprint and cookies</footer></body></html>"
    )


def table(*responses: str) -> pa.Table:
    """Rows, in chunks of two, that differ by the response."""
    hashes = [content_hash("Sky", "", response) for response in responses]
    columns = {
        "id": [f"x:{number}" for number in range(len(responses))],
        "source": ["s"] * len(responses),
        "instruction": ["Sky"] * len(responses),
        "input": [""] * len(responses),
        "response": responses,
        "hash": hashes,
        "cluster": hashes,
    }
    batches = pa.table(columns).to_batches(max_chunksize=2)
    return pa.Table.from_batches(batches)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_main_text_and_nothing_around_it(engine: str) -> None:
    text = extract.to_text(page(TEXT * 3, TEXT * 2), engine)
    assert " ".join(text.split()) == (TEXT * 5).strip()
    for nothing in ("", "   ", "<html></html>", "\0", "<html><body><script>var a = 1</script>"):
        assert extract.to_text(nothing, engine) == ""


@pytest.mark.parametrize("engine", ENGINES)
def test_a_row_becomes_its_text_or_goes(engine: str) -> None:
    rows = table(
        page(TEXT * 3, menu="One"),
        "No page, though it speaks of <html> and <!doctype html>.",
        page(TEXT * 3, menu="Two"),
        "<html><body></body></html>",
        "<p>Some markup that is no page.</p>",
        page(TEXT * 4),
        "",
    )
    given = np.array([0, 1, 2, 3, 4, 6])
    after, left, verdict = steps.apply({"name": "extract", "engine": engine}, rows, given)
    assert verdict.gone.tolist() == [3]
    assert verdict.reasons == ["no text in the page"]
    assert verdict.because.to_pylist() == [None]
    assert left.tolist() == [0, 1, 2, 4, 6]
    assert after["response"].to_pylist() == [
        (TEXT * 3).strip() if row in (0, 2) else old
        for row, old in enumerate(rows["response"].to_pylist())
    ]
    for name in ("id", "source", "instruction", "input"):
        assert after[name] == rows[name]
    for row in after.to_pylist():
        wanted = content_hash(row["instruction"], row["input"], row["response"])
        assert row["hash"] == row["cluster"] == wanted
    # Two pages, one text: the next step sees the text.
    assert rows["hash"][0] != rows["hash"][2]
    _, left, verdict = steps.apply({"name": "exact"}, after, left)
    assert len(verdict.gone) == 1
    assert verdict.gone[0] in (0, 2)


@pytest.mark.parametrize(
    "start",
    [
        "<html>",
        "\ufeff\n <HTML lang=en>",
        "<!-- a --> <!DOCTYPE html>",
        "<?xml version='1.0'?>\n<!doctype html>",
        "<script>var a</script>\n<html>",
    ],
)
def test_what_is_a_page(start: str) -> None:
    after, left, _ = steps.apply(
        {"name": "extract"}, table(f"{start}<body><p>{TEXT * 3}</p></body></html>"), np.arange(1)
    )
    assert after["response"].to_pylist() == [(TEXT * 3).strip()]
    assert left.tolist() == [0]


@pytest.mark.parametrize(
    "text", ["html", "```html\n<html></html>\n```", "<htmlx>", "< >", "<b>a</b>"]
)
def test_what_is_no_page(text: str) -> None:
    rows = table(text)
    after, left, _ = steps.apply({"name": "extract"}, rows, np.arange(1))
    assert after is rows
    assert left.tolist() == [0]


@pytest.mark.parametrize("engine", ENGINES)
def test_broken_pages_cost_no_other_row(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extract, "PAGE_SECONDS", 1.0)
    broken = [
        "<html>" + "<div>" * 100_000 + TEXT + "</div>" * 100_000,
        "<html><body " + " ".join(f"a{number}=1" for number in range(100_000)) + ">" + TEXT,
        "<html>" + "<" * 1_000_000,
        "<html>" + "<!--" * 300_000,
        "<html><body><p>a\0b\x08\ufffe&#xD800;&#55296;&#0;</p>" + TEXT,
        "<html><body><p>" + "word " * 1_000_000,
        "<html><body>" + "<table><tr><td>" * 20_000 + TEXT,
        "<?xml version='1.0' encoding='utf-16'?><!doctype html><html><body>" + TEXT,
    ]
    rows = table(*(part for bad in broken for part in (bad, page(TEXT * 3))))
    after, left, verdict = steps.apply(
        {"name": "extract", "engine": engine}, rows, np.arange(len(rows))
    )
    good = np.arange(1, len(rows), 2)
    assert np.isin(good, left).all()
    assert set(after["response"].take(good).to_pylist()) == {(TEXT * 3).strip()}
    assert len(left) + len(verdict.gone) == len(rows)
    assert set(verdict.reasons) <= {"no text in the page", "page takes too long"}
    if engine == "resiliparse":
        assert verdict.reasons[0] == "page takes too long"
        assert verdict.because[0].as_py() == "over 1 s of processor time"
    assert "<" not in after["response"][8].as_py()


def test_a_process_that_dies_or_raises_costs_a_page() -> None:
    reader = extract.Reader("resiliparse")
    good = page(TEXT * 3)
    try:
        assert reader.read(good) == ((TEXT * 3).strip(), "", "")
        os.kill(reader.process.pid, signal.SIGSEGV)
        assert reader.read(good) == ("", "extractor failed", "SIGSEGV")
        assert reader.read(good)[0] == (TEXT * 3).strip()
        text, reason, error = reader.read("<html>\ud800")
        assert (text, reason) == ("", "extractor failed")
        assert error.startswith("TypeError: ")
        assert reader.read(good)[0] == (TEXT * 3).strip()
    finally:
        reader.stop()


def test_a_missing_engine_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trafilatura", None)
    extract._reader.cache_clear()
    with pytest.raises(ValueError, match=r"not installed: pip install -e '.\[web\]'"):
        steps.apply({"name": "extract"}, table("a"), np.arange(1))


def test_the_stage_keeps_the_page_that_it_drops(winnow: Winnow, project: Path) -> None:
    pages = [{"url": f"u{n}", "html": page(f"{TEXT} {n}" * 3, title=f"Sky {n}")} for n in range(30)]
    empty = "<html><head><title>Nothing</title></head><body></body></html>"
    write_jsonl(project / "data/b.jsonl", [*pages, {"html": empty}, {"html": "<html></html>"}])
    recipe = [{"name": "extract"}, {"name": "exact"}]
    write_params(project, TINY | {"curate": TINY["curate"] | {"steps": recipe}})
    for stage in ("ingest", "curate"):
        done = winnow(stage)
        assert done.returncode == 0, done.stderr
    quarantine = (project / "artifacts/ingest/quarantine.jsonl").read_text()
    assert json.loads(quarantine)["reason"] == "the page has no title"
    dropped = pq.read_table(project / "artifacts/curate/dropped.parquet").to_pylist()
    (gone,) = (row for row in dropped if row["step"] == 0)
    assert (gone["instruction"], gone["response"]) == ("Nothing", empty)
    assert gone["reason"] == "no text in the page"
    kept = [
        row
        for name in ("train", "validation", "test")
        for row in pq.read_table(project / f"artifacts/curate/{name}.parquet").to_pylist()
    ]
    sky = [row for row in kept if row["source"] == "b"]
    assert len(sky) == 30
    assert all(row["response"].startswith(TEXT) for row in sky)
    ledger = json.loads((project / "artifacts/curate/card.json").read_text())["ledger"]
    assert ledger["rows_in"] == len(kept) + len(dropped) == len(corpus()) + 31


def test_real_pages(winnow_data: Path) -> None:
    """As good as measured, and the same by one process and by two."""
    file = winnow_data / "web/article_extraction_benchmark_first_half.parquet"
    rows = pq.read_table(file).slice(0, 40)
    for engine, least in (("trafilatura", 0.94), ("resiliparse", 0.89)):
        one, two = (
            [*extract.read_all(rows["html"], np.arange(40), engine, processes)]
            for processes in (1, 2)
        )
        assert one == two
        texts = [text for part in one for text, _, _ in part]
        counts = shingle_counts(rows["expected_text"].to_pylist(), texts)
        assert shingle_figures(counts)["F1"] > least
