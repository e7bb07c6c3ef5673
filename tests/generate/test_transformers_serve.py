"""Rows of a real service with a real model behind it: `transformers serve`, asked as it is.

pytest tests/generate/test_transformers_serve.py
"""

import contextlib
import importlib.util
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import real
from tiny import TINY, need, write_jsonl, write_params

from winnow.core.errors import Refusal
from winnow.core.files import read_json
from winnow.generate import stage
from winnow.generate.backends import CUT, Request, Sampling
from winnow.generate.backends.openai import Openai

NEEDED = ("fastapi", "openai", "pydantic", "uvicorn")
"""Packages without which `transformers serve` does not begin."""
TEMPLATE = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face"
    "<|im_end|>\n<|im_start|>user\n"
)


@contextlib.contextmanager
def transformers_serve(weights: Path, log: Path) -> Iterator[str]:
    """Serve a model on a port of the system's choice; the service's address."""
    command = [Path(sys.executable).parent / "transformers", "serve", weights, "--port", "0"]
    with log.open("w") as file:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--device", "cpu"],
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        while not (port := re.search(r"running on http://127\.0\.0\.1:(\d+)", log.read_text())):
            assert server.poll() is None, log.read_text()[-3000:]
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port[1]}/v1"
    finally:
        server.terminate()
        server.wait(30)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_transformers_serve_writes_questions_and_answers(project: Path, tmp_path: Path) -> None:
    """Both doors are open: /chat/completions for answers, /completions for Magpie's questions."""
    missing = [name for name in NEEDED if not importlib.util.find_spec(name)]
    need(not missing, f"what `transformers serve` needs: {', '.join(missing)}")
    need(real.is_there(), "the extra `real`: SmolLM2 as a package")
    weights = real.write_smollm2(tmp_path / "smollm2")
    settings = read_json(weights / "generation_config.json")
    # Without it the server writes the likeliest token, whatever temperature it is sent.
    (weights / "generation_config.json").write_text(json.dumps(settings | {"do_sample": True}))
    asked = [{"question": f"What is the capital of {land}?"} for land in ("France", "Spain")]
    write_jsonl(project / "lands.jsonl", asked)
    recipe = {"method": "answers", "rows": "lands.jsonl", "number": 1, "requests": 2, "shards": 1}
    recipe |= {"max_tokens": 40, "repetition_penalty": 1.0, "temperature": 0.1}
    with transformers_serve(weights, tmp_path / "serve.log") as url:
        backend = {"name": "openai", "url": url, "model": str(weights), "workers": 1}
        declared = {"backend": backend, "recipes": {"lands": recipe}, "checks": {"max_failed": 1.0}}
        write_params(project, TINY | {"generate": declared})
        stage.run()
        made = pq.read_table("artifacts/generate/made/lands.parquet").to_pylist()
        assert {row["reason"] for row in made} <= {None, CUT} and len(made) == 2

        service = Openai(url=url, model=str(weights), workers=1).open()
        plain = Sampling(temperature=1, top_p=0.9, repetition_penalty=1, max_tokens=12)
        begun = [Request(text=TEMPLATE, sampling=plain, seed=seed) for seed in range(3)]
        replies = [reply for _, reply in service.answer(begun)]
        assert len({reply.text for reply in replies}) > 1, "it does not sample"
        # As letters the template's signs would be twice as many tokens.
        assert {reply.prompt_tokens for reply in replies} == {24}

        # As docs/generate.md says, this server refuses the penalty: the run ends at once.
        refused = [replace(one, sampling=replace(plain, repetition_penalty=1.1)) for one in begun]
        with pytest.raises(Refusal, match="422"):
            list(service.answer(refused * 2))
