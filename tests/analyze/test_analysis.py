"""The stage end to end, over a made-up results tree."""

import base64
import csv
import hashlib
import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from browser import dom
from made_up import DROPPED, POOL, TESTED, TIERS, build

from winnow.analyze import stage
from winnow.analyze.report.removed import PER_REASON
from winnow.core import cards

ALL = [f"{tier}_1M" for tier in TIERS]


class Page(HTMLParser):
    """Tags, ids, references out and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.words = ""
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Remember what could reach out."""
        self.tags.append(tag)
        for name, value in attributes:
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src", "xlink:href") and not (value or "").startswith("#"):
                self.links.append(value or "")
            assert not name.startswith("on"), name

    def handle_data(self, data: str) -> None:
        """Gather the text."""
        self.words += data


def page() -> Page:
    return Page(Path("analysis/report.html").read_text(encoding="utf-8"))


def analysis() -> Any:
    return json.loads(Path("analysis/analysis.json").read_text(encoding="utf-8"))


def undefined(value: Any, reasons: Any = None, path: str = "") -> list[str]:
    """Places of null that no sibling `reasons` explains."""
    if isinstance(value, dict):
        why = value.get("reasons", {})
        return [bad for key, item in value.items() for bad in undefined(item, why, f"{path}/{key}")]
    if isinstance(value, list):
        return [bad for item in value for bad in undefined(item, None, path)]
    key = path.rpartition("/")[2]
    return [path] if value is None and key not in (reasons or {}) else []


def test_everything_is_written_and_says_the_same(tmp_path: Path, tracker: Any, capsys: Any) -> None:
    build(tmp_path, ALL, [0, 1, 2])
    stage.run()
    said = capsys.readouterr().out
    assert said.startswith(
        "Keep the top 1,000 rows by the documented score (17% of the curated pool). The documented "
        "score earns it"
    )
    assert said.endswith("Report: analysis/report.html\n")
    found = analysis()
    text = found["answer"]["text"]
    assert text in said and found["answer"]["opening"] in page().words
    summary = json.loads(Path("results/experiment_summary.json").read_text())
    for key in (
        "performance_vs_size",
        "efficiency_metrics",
        "quality_threshold",
        "recommendations",
    ):
        assert summary[key] == found[key], key
    assert found["quality_threshold"]["1M"]["threshold"] == "high"
    assert found["hypothesis"]["1M"]["verdict"] == "holds"
    metrics = json.loads(Path("metrics.json").read_text())
    assert metrics["answer"] == text
    assert metrics["1M.best"] == "high_1k_1M"
    assert metrics["1M.score_margin"] == pytest.approx(0.2, abs=0.02)
    assert metrics["loss.high_1k_1M"] == found["experiments"]["high_1k_1M"]["loss"]["value"]
    assert not any(isinstance(value, dict | list) for value in metrics.values())
    assert cards.is_complete(Path("analysis"))
    for name in stage.PUBLISHED:
        drawn = Path(f"analysis/figures/{name}.png").read_bytes()
        assert drawn.startswith(b"\x89PNG") and found["receipt"]["data"][:12].encode() in drawn


def test_every_section_has_its_receipt_and_every_arm_its_runs(tmp_path: Path, tracker: Any) -> None:
    build(tmp_path, ALL, [0, 1])
    stage.run()
    text, found = Path("analysis/report.html").read_text(encoding="utf-8"), analysis()
    assert len(re.findall(r"<(caption|figcaption)>", text)) > 15
    sections = re.findall(r"<details id=.*?</details>", text, re.DOTALL)
    assert len(sections) > 10
    for section in sections:
        assert section.count(f"data {found['receipt']['data'][:12]}, {2 * len(ALL)} runs") == 1
        assert "winnow analyze" in section and "0123456789" in section
    links = re.findall(r'<a href="#(section-\d+)">', text)
    assert len(links) == len(sections) and all(f'id="{link}"' in text for link in links)
    for name in ALL:
        assert f'href="#{name}"' in text and f'id="{name}"' in text


def test_tables_for_plots(tmp_path: Path, tracker: Any) -> None:
    build(tmp_path, ALL, [0, 1, 2])
    stage.run()
    with Path("analysis/tiers.csv").open(newline="") as file:
        tiers = {row["experiment"]: row for row in csv.DictReader(file)}
    assert set(tiers) == set(ALL)
    best = tiers["high_1k_1M"]
    assert float(best["loss_low"]) < float(best["loss"]) < float(best["loss_high"])
    assert float(best["perplexity"]) == pytest.approx(math.exp(float(best["loss"])))
    assert float(best["margin_low"]) > 0 and tiers["random_1k_1M"]["margin_over_matched"] == ""
    with Path("analysis/curves.csv").open(newline="") as file:
        curves = list(csv.DictReader(file))
    assert len(curves) == len(ALL) * 3 * 12
    assert list(curves[0]) == ["experiment", "seed", "step", "tokens", "validation_loss"]


def test_every_null_has_its_reason(tmp_path: Path, tracker: Any) -> None:
    build(tmp_path, ["ultra_300_1M", "random_2k_1M"], [0], losses={"ultra_300": math.log(180)})
    stage.run()
    found = analysis()
    allowed = ("/answer/", "/planted_truth", "/tiers/", "/experiments/")
    assert [p for p in undefined(found) if not p.startswith(allowed)] == []
    assert found["experiments"]["ultra_300_1M"]["reasons"]["coherence"]
    assert (
        "100"
        in found["efficiency_metrics"]["ultra_300_1M"]["reasons"]["samples_per_point_perplexity"]
    )


def test_the_page_is_one_inert_file(tmp_path: Path, tracker: Any) -> None:
    build(tmp_path, ALL, [0, 1, 2])
    stage.run()
    found = page()
    assert not {"script", "link", "img", "iframe", "object", "form"} & set(found.tags)
    assert found.links == ["removed.html"]
    assert len(found.ids) == len(set(found.ids))
    assert "<script>alert(1)</script>" in found.words, "shown as text"
    text = Path("analysis/report.html").read_text(encoding="utf-8")
    assert "prefers-color-scheme: dark" in text and "@media print" in text
    assert "#fe0" not in text, "every placeholder colour became a variable"
    assert text.count("<svg") == 7 == text.count('role="img"')
    assert str(tmp_path) not in text


def test_what_curation_did(tmp_path: Path, tracker: Any) -> None:
    build(tmp_path, ALL[:2], [0])
    stage.run()
    found = analysis()
    first, second = found["curation"]
    all_rows = 2 * POOL + TESTED + DROPPED
    assert [first["before"]["rows"], first["after"]["rows"]] == [all_rows, all_rows - DROPPED + 100]
    assert second["before"] == first["after"] and second["after"]["rows"] == all_rows - DROPPED
    gone = pq.read_table("artifacts/score/dropped.parquet").slice(DROPPED - 100)
    lost = second["before"]["tokens"] - second["after"]["tokens"]
    assert lost == pc.sum(gone["num_tokens"]).as_py()
    total = [part["rows"] * part["mean_score"] for part in (second["before"], second["after"])]
    assert total[0] - total[1] == pytest.approx(pc.sum(gone["score"]).as_py())
    # The made-up hold-out shares three clusters with the pool.
    tier = pd.read_csv("artifacts/select/ultra_300_scores.csv")["idx"]
    shared = int((tier < 3).sum())
    both = {"rows": shared, "clusters": shared}
    wanted = {"validation": {"rows": 0, "clusters": 0}, "test": both}
    assert found["leakage"]["ultra_300"] == wanted


def test_removed_rows_are_inert(tmp_path: Path, tracker: Any) -> None:
    build(tmp_path, ALL[:2], [0])
    stage.run()
    text = Path("analysis/removed.html").read_text(encoding="utf-8")
    found = Page(text)
    assert found.tags.count("article") == 2 * PER_REASON
    assert found.tags.count("script") == 1 and found.links == ["report.html"]
    assert "document.title = 'evil'" in found.words and "near <b>1</b>" in found.words
    script = re.search(r"<script>(.*)</script>", text, re.DOTALL)
    assert script
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'\"" in text


def test_removed_rows_are_searched(tmp_path: Path, tracker: Any, chromium: None) -> None:
    build(tmp_path, ALL[:2], [0])
    stage.run()
    address = Path("analysis/removed.html").resolve().as_uri()
    shown = dom(f"{address}#NEAR%20%3Cb%3E1", tmp_path / "profile")
    assert shown.count("<article>") == shown.count('<article hidden="">') == PER_REASON
    assert f"<output>{PER_REASON}</output>" in shown and "<title>Winnow: removed rows" in shown


def test_a_second_run_writes_the_same_bytes(tmp_path: Path, tracker: Any) -> None:
    build(tmp_path, ALL[:4], [0, 1])
    stage.run()
    first = {p: p.read_bytes() for p in sorted(Path("analysis").rglob("*")) if p.is_file()}
    stage.run()
    assert first == {p: p.read_bytes() for p in sorted(Path("analysis").rglob("*")) if p.is_file()}


def test_what_is_published_is_recorded_once(tmp_path: Path, tracker: list[Path]) -> None:
    build(tmp_path, ALL[:3], [4, 7])
    stage.run()
    assert tracker == [Path("analysis")]
    for name in ALL[:3]:
        paths = [Path(f"results/{name}/{seed}/evaluation/metrics.json") for seed in (4, 7)]
        stored = [json.loads(path.read_text())["loss"] for path in paths]
        assert analysis()["experiments"][name]["loss_by_seed"] == pytest.approx(stored)
    drawn = Path("analysis/figures").iterdir()
    assert sorted(path.stem for path in drawn) == sorted(stage.PUBLISHED)


def test_one_seed_is_no_finding(tmp_path: Path, tracker: Any, capsys: Any) -> None:
    build(tmp_path, ALL, [0])
    stage.run()
    assert "Not a finding: 1 seed; 3 or more make one." in capsys.readouterr().out
    assert "Not a finding: 1 seed" in page().words
    assert analysis()["method"]["over"] == "test rows"


def test_one_arm_is_refused_in_words(tmp_path: Path, tracker: Any, capsys: Any) -> None:
    build(tmp_path, ["high_1k_1M"], [0, 1, 2])
    stage.run()
    assert capsys.readouterr().out.startswith("Nothing to compare: only arms of 1,000 rows")
    assert "Nothing to compare" in page().words


def test_what_holds_of_several_models_is_said_once(
    tmp_path: Path, tracker: Any, capsys: Any
) -> None:
    build(tmp_path, ["high_1k_1M", "high_1k_4M"], [0, 1, 2])
    stage.run()
    assert capsys.readouterr().out.count("Nothing to compare") == 1


def test_no_top_arm_still_makes_a_report(tmp_path: Path, tracker: Any, capsys: Any) -> None:
    build(tmp_path, ["random_1k_1M"], [0, 1, 2])
    stage.run()
    assert "No tier of top rows was run, so nothing is known" in capsys.readouterr().out


def test_two_models_have_two_tables(tmp_path: Path, tracker: Any) -> None:
    names = [f"{tier}_{model}" for model in ("1M", "4M") for tier in ("ultra_300", "high_1k")]
    build(tmp_path, names, [0, 1, 2])
    stage.run()
    words = page().words
    assert "Every arm of the 4M model" in words and "Every arm of the 1M model" in words
    assert "1M ranks 1 of 1 pair of tiers as 4M does (equal epochs), for" in words


@pytest.mark.parametrize("truth", [None, "corpora/other.jsonl"])
def test_a_corpus_without_truth(tmp_path: Path, tracker: Any, truth: str | None) -> None:
    build(tmp_path, ALL[:2], [0, 1, 2], truth=truth)
    Path("corpora/other.jsonl").write_text('{"hash": "none of these", "quality": "clean"}\n')
    stage.run()
    assert analysis()["planted_truth"] is None
    assert "No planted truth is known for this corpus" in page().words


def test_the_planted_truth_is_found(tmp_path: Path, tracker: Any) -> None:
    build(tmp_path, ALL, [0, 1, 2])
    stage.run()
    truth = analysis()["planted_truth"]
    assert truth["num_known"] == truth["num_rows"] == POOL
    assert 0.7 < truth["auc"]["score"] < 0.95
    shares = {name: row["clean"] for name, row in truth["tiers"].items()}
    assert shares["ultra_300"] > shares["medium_4k"] > shares["matched_300"]
    assert abs(shares["random_2k"] - truth["pool"]["clean"]) < 0.05
    means = {name: row["mean_score"] for name, row in truth["qualities"].items()}
    assert means["clean"] > means["noisy"]
    tested = truth["test"]
    assert tested["clean"] + tested["damaged"] == 200
    assert set(tested["experiments"]) == set(ALL)
    assert f"{tested['experiments'][ALL[0]]['clean']:.3f}" in page().words


def test_rows_of_unknown_quality_are_left_out(tmp_path: Path, tracker: Any) -> None:
    build(tmp_path, ALL[:2], [0])
    path = Path("corpora/truth.jsonl")
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:500]))
    stage.run()
    assert analysis()["planted_truth"]["num_known"] == 500
    assert "500 rows with a known quality (of 6,000 in the pool)" in page().words


def test_the_real_tracker_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID", "MLFLOW_EXPERIMENT_ID"):
        monkeypatch.delenv(name, raising=False)
    build(tmp_path, ALL[:2], [0])
    stage.run()
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    ids = [experiment.experiment_id for experiment in client.search_experiments()]
    (run,) = client.search_runs(ids, "tags.stage = 'analyze'")
    assert run.data.metrics["experiments.ultra_300_1M.perplexity"] > 1
