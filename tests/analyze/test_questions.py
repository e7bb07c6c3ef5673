"""A question of a user's own: one file of another package and one line of params.yaml."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from made_up import build
from test_analysis import Page

from winnow.analyze.params import NEEDED, QUESTIONS, AnalyzeConfig

OVERLAP = '''
"""Which tier repeats its rows the most?"""

from matplotlib.figure import Figure

from winnow.analyze.questions import Answer
from winnow.core.drawing import Drawing, Palette, panels


def ask(study, settings):
    epochs = {arm.name: arm.mean(lambda run: run.train.num_epochs) for arm in study.arms}
    most = max(epochs, key=epochs.get)

    def draw(palette: Palette) -> Figure:
        figure, (axes,) = panels(palette, 1, 2.0)
        axes.barh(list(epochs), list(epochs.values()), color=palette.ink)
        return figure

    sentence = f"{most} repeats its rows {epochs[most]:.0f} times <b>."
    drawing = Drawing("repeats", "Epochs by experiment", "As trained.", draw)
    return Answer(
        values={"epochs": epochs, "most": most},
        sentence=sentence,
        asks="Which tier repeats its rows?",
        opening=f"{most} does. The others do less <b>.",
        figures=(drawing,),
    )
'''
EXPERIMENTS = ["ultra_300_1M", "high_1k_1M", "matched_300_1M"]


def analyse(project: Path) -> subprocess.CompletedProcess[str]:
    """Run `winnow analyze` with the user's folder of packages on the path."""
    path = os.pathsep.join([str(project / "mine"), *sys.path])
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_RUN")}
    return subprocess.run(
        [sys.executable, "-m", "winnow", "analyze"],
        cwd=project,
        env=environment | {"PYTHONPATH": path, "MLFLOW_TRACKING_URI": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_newcomer_asks_in_one_file_and_one_line(tmp_path: Path) -> None:
    build(tmp_path, EXPERIMENTS, [0, 1], questions=["my_house.overlap:ask", *QUESTIONS])
    module = tmp_path / "mine/my_house/overlap.py"
    module.parent.mkdir(parents=True)
    module.write_text(OVERLAP)
    done = analyse(tmp_path)
    assert done.returncode == 0, done.stderr
    sentence = "ultra_300_1M repeats its rows 10 times <b>."
    assert done.stdout.startswith(f"{sentence}\n")
    values = json.loads((tmp_path / "analysis/analysis.json").read_text())["my_house.overlap:ask"]
    assert values["most"] == "ultra_300_1M" and values["epochs"]["high_1k_1M"] == 3
    page = Page((tmp_path / "analysis/report.html").read_text(encoding="utf-8"))
    assert sentence in page.words and "Epochs by experiment" in page.words
    opening, _, rest = page.words.partition("How hard to filter, and by which score")
    for text in ("Which tier repeats its rows?", "The others do less <b>.", "Figure 1. Epochs"):
        assert text in opening
    assert "No arm of all rows was run" in rest and "Epochs by experiment" not in rest


@pytest.mark.parametrize(
    ("questions", "message"),
    [
        (["dial"], "each question once, and answer, performance_vs_size"),
        ([*QUESTIONS, "dial"], "each question once"),
        ([*QUESTIONS, "dail"], "or package.module:name of your own, found 'dail'"),
        ([*QUESTIONS, "nowhere.at_all:ask"], "no module 'nowhere'"),
    ],
)
def test_a_question_that_there_is_not_is_refused_in_a_line(
    tmp_path: Path, questions: list[str], message: str
) -> None:
    build(tmp_path, EXPERIMENTS[:1], [0], questions=questions)
    done = analyse(tmp_path)
    assert done.returncode == 2 and message in done.stderr
    assert len(done.stderr.splitlines()) == 1 and not (tmp_path / "analysis").exists()


def test_the_report_does_with_the_fewest_questions(tmp_path: Path) -> None:
    build(tmp_path, EXPERIMENTS, [0, 1], questions=list(NEEDED))
    done = analyse(tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "analysis/analysis.json").read_text())
    assert not set(QUESTIONS) - set(NEEDED) & set(found)
    page = Page((tmp_path / "analysis/report.html").read_text(encoding="utf-8"))
    assert "Every arm" in page.words and "What to do" not in page.words
    assert "The documented rules" not in page.words


def test_all_are_asked_where_none_is_listed() -> None:
    assert AnalyzeConfig().questions == QUESTIONS
