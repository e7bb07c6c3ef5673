"""A tokenizer of somebody else's is copied without what would run or be read beside it.

pytest tests/curate/test_tokenizer.py
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer

from winnow.core.errors import Refusal
from winnow.curate import tokenizer
from winnow.models.tokenizer import Vocabulary

END = tokenizer.END_OF_TEXT


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A folder with a tokenizer."""
    path = tmp_path / "source"
    tokenizer.save("bpe", iter(["a river", "a stone"]), 300, path)
    return path


def say(source: Path, **settings: Any) -> None:
    """Change what a tokenizer's configuration says."""
    path = source / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))


def copied(source: Path) -> Path:
    """The folder of the copy."""
    target = source.parent / "copy"
    tokenizer.save(str(source), iter(()), 0, target)
    return target


def refusal(source: Path) -> str:
    """The one line by which a tokenizer is refused."""
    with pytest.raises(Refusal) as error:
        copied(source)
    assert str(error.value).startswith("params.yaml: curate.tokenizer: ")
    assert "\n" not in str(error.value)
    return str(error.value)


def test_nothing_that_names_code_or_files_is_copied(source: Path) -> None:
    (source / "evil.py").write_text("raise SystemExit")
    code = {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}, "custom_pipelines": {"evil": {}}}
    (source / "config.json").write_text(json.dumps({"model_type": "gpt2"} | code))
    say(
        source,
        **code,
        tokenizer_class="Evil",
        tokenizer_file="/etc/passwd",
        add_bos_token=True,
        fast_tokenizer_files=["tokenizer.4.json"],
        chat_template="{{ cycler.__init__ }}",
        model_max_length=77,
        unk_token={"content": END, "__type": "AddedToken"},
    )
    copy = copied(source)
    assert {path.name for path in copy.iterdir()} == {"tokenizer.json", "tokenizer_config.json"}
    assert json.loads((copy / "tokenizer_config.json").read_text()) == {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END,
        "eos_token": END,
        "unk_token": {"content": END, "__type": "AddedToken"},
        "model_max_length": 77,
    }
    assert Vocabulary.read(copy).size == Vocabulary.read(source).size
    read = AutoTokenizer.from_pretrained(copy, trust_remote_code=False)
    ids = Tokenizer.from_file(str(source / "tokenizer.json")).encode("a river").ids
    assert read("a river").input_ids == ids and read.model_max_length == 77


def test_what_transformers_has_to_read_is_copied_as_plainly(source: Path) -> None:
    say(source, eos_token={"content": END, "__type": "AddedToken"}, chat_template="{{ x }}")
    copy = copied(source)
    assert {path.name for path in copy.iterdir()} == {"tokenizer.json", "tokenizer_config.json"}
    assert Vocabulary.read(copy).end_of_text == Vocabulary.read(source).end_of_text


def test_a_pipe_and_a_link_out_are_refused_unread(source: Path, tmp_path: Path) -> None:
    os.mkfifo(source / "added_tokens.json")
    assert "added_tokens.json is neither a file nor a folder" in refusal(source)
    (source / "added_tokens.json").unlink()
    (tmp_path / "copy").rmdir()
    (source / "tokenizer.json").rename(tmp_path / "elsewhere.json")
    (source / "tokenizer.json").symlink_to(tmp_path / "elsewhere.json")
    assert "tokenizer.json is a link out of its folder" in refusal(source)


@pytest.mark.parametrize("highest", [3, 70_000, 2**31])
def test_ids_with_gaps_are_refused(source: Path, highest: int) -> None:
    words = {END: 0, "a": 1, "b": highest}
    Tokenizer(models.WordLevel(words, unk_token=END)).save(str(source / "tokenizer.json"))
    line = refusal(source)
    assert f"has 3 words and an id {highest}: expected ids from 0 to 2" in line
