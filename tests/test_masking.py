"""What is secret is not shown.

pytest tests/test_masking.py
"""

import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import Winnow

from winnow.core.masking import SHORTEST, mask

SIGNS = "abcXYZ019.-_~!$%&()*+,;=:@/?#[]|^"


@pytest.mark.parametrize(
    "text, masked",
    [
        ("at https://user:pw@host:5000/x.", "at https://***@host:5000/x."),
        ("postgresql://u:p@ss@127.0.0.1/db and more", "postgresql://***@127.0.0.1/db and more"),
        ("https://ghp_token@github.com/a/b", "https://***@github.com/a/b"),
        ("url: /api?token=abc&run_id=7 x", "url: /api?token=***&run_id=7 x"),
        ("GET '/x?a=1&api_key=a%20b'", "GET '/x?a=1&api_key=***'"),
        ("train@high_2k_1M-0 of org/name@0123 to me@example.org", None),
        ("https://medium.com/@me and sqlite:////home/a@b/mlflow.db", None),
    ],
)
def test_an_address_is_shown_without_its_secrets(text: str, masked: str | None) -> None:
    assert mask(text) == (text if masked is None else masked) == mask(mask(text))


@given(st.text(SIGNS, min_size=SHORTEST), st.sampled_from(["raw", "quoted", "argument", "bare"]))
def test_a_secret_of_the_environment_is_masked_wherever_it_stands(secret: str, how: str) -> None:
    quoted = quote(secret, safe="")
    shown = secret if how == "raw" else quoted
    address = {
        "raw": f"http://user:{secret}@host",
        "quoted": f"http://user:{quoted}@host/path",
        "argument": f"http://host/path?token={quoted}&x=1",
        "bare": f"user:{quoted}@host:3128",
    }[how]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANY_ADDRESS", address)
        for text in (f"nonnumeric port: '{shown}'", address, f"<{secret}>" if how != "raw" else ""):
            assert secret not in mask(text) and quoted not in mask(text)


def test_a_variable_whose_name_says_so_is_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "client_secret"):
        monkeypatch.setenv(name, f"canary-{name}")
        assert mask(f"it is canary-{name}.") == "it is ***."
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "disabled")
    monkeypatch.setenv("SHORT_TOKEN", "mlflow")
    assert mask("disabled in /lib/mlflow") == "disabled in /lib/mlflow"


PROGRAM = """
import logging, sys, threading, warnings
from winnow.core.masking import mask_output
mask_output()
mask_output()
print("1", "https://me:canary@host", sep=" ", end="\\n")
print("2 https://me:canary@host", file=sys.stderr)
sys.stdout.writelines(["3 https://me:canary@host\\n"])
logging.warning("4 https://me:canary@host")
warnings.warn("5 https://me:canary@host")
thread = threading.Thread(target=lambda: open("6 https://me:canary@host"))
thread.start()
thread.join()
raise ValueError("7 https://me:canary@host") from OSError("8 https://me:canary@host")
"""


def test_every_way_to_print_is_masked() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=os.environ
    )
    said = done.stdout + done.stderr
    assert "canary" not in said and done.returncode == 1
    for number in range(1, 9):
        assert f"{number} https://***@host" in said


def test_a_line_that_is_cut_shows_no_half_of_a_secret(project: Path, winnow: Winnow) -> None:
    for length in range(60, 124, 16):
        init = f"{length * 'x'}/https://me:{8 * 'canary-'}@host/{400 * 'y'}"
        done = winnow("train", "high_40_tiny", "--init", init)
        assert done.returncode == 2 and "found 'xxx" in done.stderr and "…" in done.stderr
        assert "canary" not in done.stderr
