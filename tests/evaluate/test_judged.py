"""Models of every family are judged: through the command line, and against plain computations."""

import copy
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from ruamel.yaml import YAML
from tiny import TINY, Winnow, corpus, make_until, write_params
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from tokenizers.trainers import BpeTrainer
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from winnow.core.records import ROW_SCHEMA
from winnow.evaluate import conversations
from winnow.evaluate.conversations import Conversation
from winnow.models import judged, row_losses, sampling
from winnow.models.row_losses import Window
from winnow.models.sampling import Sampling

TEMPLATE = (
    "{% for message in messages %}<|start|>{{ message['role'] }}\n{{ message['content'] }}<|end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)


def _tokenizer(template: str | None) -> PreTrainedTokenizerFast:
    """Other words than the corpus's own tokenizer has."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    special = ["<|pad|>", "<|end|>", "<|start|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = BpeTrainer(vocab_size=400, special_tokens=special, initial_alphabet=alphabet)
    bpe.train_from_iterator([row["output"] for row in corpus(40, 5)], trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=bpe, eos_token="<|end|>", pad_token="<|pad|>", padding_side="left"
    )
    fast.chat_template = template
    return fast


def write_llama(folder: Path) -> None:
    """A tiny Llama with a tokenizer and a chat template of its own."""
    torch.manual_seed(0)
    fast = _tokenizer(TEMPLATE)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        initializer_range=0.2,
        bos_token_id=None,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)


def write_t5(folder: Path) -> None:
    """A tiny T5 with fresh weights."""
    torch.manual_seed(0)
    fast = _tokenizer(None)
    config = T5Config(
        vocab_size=len(fast),
        d_model=32,
        d_kv=8,
        d_ff=64,
        num_layers=2,
        num_heads=4,
        decoder_start_token_id=fast.pad_token_id,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
    )
    T5ForConditionalGeneration(config).save_pretrained(folder)
    fast.save_pretrained(folder)


GREEDY = {"temperature": 1.0, "top_p": 1e-6}
"""A nucleus of one token."""


def _sampling(**other: Any) -> Sampling:
    settings = {"num_samples": 3, "max_new_tokens": 12, "batch_size": 8, "seed": 0}
    return Sampling(**settings | {"temperature": 0.8, "top_p": 0.9} | other)


def _generated(network: Any, ids: list[int], end: int) -> list[int]:
    """The most probable completion by transformers' own loop, without its end."""
    prompt = torch.tensor([ids])
    pad = network.config.pad_token_id
    found = network.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=False,
        max_new_tokens=12,
        eos_token_id=end,
        pad_token_id=pad,
    )[0].tolist()
    new = found[1:] if network.config.is_encoder_decoder else found[len(ids) :]
    return new[: new.index(end)] if end in new else new


def _ids(completion: Any, end: int) -> list[int]:
    ids = completion.tolist()
    return ids[: ids.index(end)] if end in ids else ids


@pytest.fixture
def llama(tmp_path: Path) -> judged.Judged:
    """A tiny Llama as a training publishes it."""
    write_llama(tmp_path)
    spec = {"family": "causal", "weights": str(tmp_path), "context": 64}
    (tmp_path / "experiment_config.json").write_text(json.dumps({"model": spec}))
    return judged.load(tmp_path)


@pytest.fixture
def t5(tmp_path: Path) -> Any:
    """A tiny T5's network."""
    write_t5(tmp_path)
    return T5ForConditionalGeneration.from_pretrained(tmp_path).eval()


ROWS = pa.Table.from_pylist(
    [
        {"id": str(at), "source": "a", "instruction": row["instruction"], "input": row["input"]}
        | {"response": row["output"]}
        for at, row in enumerate(corpus(9, 3))
    ],
    ROW_SCHEMA,
)
PROMPTS = [[7, 9, 30], [50], [8, 60, 61, 62, 63, 64, 65, 66], [100, 101, 102]]


def _decoder(network: Any) -> sampling.Decoder:
    if network.config.is_encoder_decoder:
        return sampling.EncoderDecoder(network, 0)
    return sampling.CausalDecoder(network, 64, 0)


@pytest.mark.parametrize("name", ["llama", "t5"])
def test_samples_are_the_families_own_and_depend_on_no_batch(
    name: str, request: pytest.FixtureRequest
) -> None:
    model = request.getfixturevalue(name)
    network, end = getattr(model, "network", model), 1
    vocab_size = network.config.vocab_size

    def sample(**settings: Any) -> list[list[list[int]]]:
        samples = sampling.complete(
            _decoder(network), PROMPTS, end, vocab_size, _sampling(**settings)
        )
        return [[_ids(ids, end) for ids in each] for each in samples]

    alone = sample(batch_size=1)
    assert sample(batch_size=3) == sample(batch_size=8) == alone
    assert len({tuple(ids) for each in alone for ids in each}) > 6
    best = sample(num_samples=1, **GREEDY)
    assert best == [[_generated(network, prompt, end)] for prompt in PROMPTS]


def test_a_model_without_attention_is_refused() -> None:
    shape = {"hidden_size": 32, "state_size": 4, "num_hidden_layers": 1, "vocab_size": 64}
    with pytest.raises(ValueError, match="^a mamba keeps one state.*name a model with attention$"):
        _decoder(MambaForCausalLM(MambaConfig(**shape)))


@pytest.mark.parametrize("batch_size", [1, 32])
def test_losses_of_a_chat_model_are_those_of_its_template(
    llama: judged.Judged, batch_size: int
) -> None:
    found = llama.row_losses(ROWS, batch_size)
    fast = _tokenizer(TEMPLATE)
    for at, row in enumerate(ROWS.to_pylist()):
        question = row["instruction"] + (f"\n{row['input']}" if row["input"] else "")
        prompt, whole = (
            fast.apply_chat_template(chat, tokenize=True, add_generation_prompt=len(chat) == 1)
            for chat in (
                [{"role": "user", "content": question}],
                [
                    {"role": "user", "content": question},
                    {"role": "assistant", "content": row["response"]},
                ],
            )
        )
        prompt, whole = prompt["input_ids"], whole["input_ids"][:-1]  # the last is a line's end
        stream = [fast.eos_token_id, *whole]
        losses = []
        for place in range(1, len(stream)):
            start = (place - 1) // 64 * 64
            logits = llama.network(torch.tensor([stream[start:place]])).logits[0, -1].double()
            losses.append(-torch.log_softmax(logits, 0)[stream[place]].item())
        assert found.num_tokens[at] == len(losses)
        assert found.response_tokens[at] == len(whole) - len(prompt)
        assert found.loss[at] == pytest.approx(sum(losses), rel=1e-5)
        assert found.response_loss[at] == pytest.approx(sum(losses[len(prompt) :]), rel=1e-5)


FRIENDLY = (
    "{% if messages[0]['role'] != 'system' %}<|start|>system\nBe kind.<|end|>\n{% endif %}"
    + TEMPLATE
)
"""With words of its own before the first turn."""
ONE_TURN = "{% if messages | length > 2 %}{{ raise_exception('one turn') }}{% endif %}" + TEMPLATE
CHATS = TEMPLATE, FRIENDLY
TALK = ["Name a tree.", "An oak.", "Name another one.", "A fir.", "And a third?"]


@pytest.mark.parametrize("template", [TEMPLATE, FRIENDLY, ONE_TURN, None])
def test_a_turn_is_asked_behind_the_answers_before_it(
    template: str | None, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setattr("test_judged.TEMPLATE", template)
    model, fast = request.getfixturevalue("llama"), _tokenizer(template)
    (ids,) = model.prompt_ids([TALK[0]])
    for answer, question in zip(TALK[1::2], TALK[2::2], strict=True):
        ids = model.next_turn_ids(ids, answer, question)
    if template in CHATS:
        roles = ["user", "assistant", "user", "assistant", "user"]
        chat = [{"role": role, "content": text} for role, text in zip(roles, TALK, strict=True)]
        whole = fast.apply_chat_template(chat, tokenize=True, add_generation_prompt=True)
        assert ids == [fast.eos_token_id, *whole["input_ids"]]
    else:  # turn by turn as rows that follow each other
        rows = [*zip(TALK[::2], [*TALK[1::2], ""], strict=True)]
        table = [
            {"id": "", "source": "", "instruction": asked, "input": "", "response": said}
            for asked, said in rows
        ]
        parts = model.parts(pa.Table.from_pylist(table, ROW_SCHEMA))
        whole = [token for prompt, answer in parts for token in (*prompt, *answer)]
        assert ids == [model.begin, *whole[: len(whole) - len(parts[-1][1])]]


def test_conversations_are_answered_turn_by_turn(llama: judged.Judged) -> None:
    end, decode = 1, llama.vocabulary.tokenizer.decode
    llama.context = 128
    asked = [("Say a.", "Say b."), ("Say c.",), ("Say d.", "word " * 60, "Say e.")]
    talks = [Conversation(turns, None) for turns in asked]
    said = conversations.answer(llama, talks, _sampling(num_samples=1, **GREEDY))
    assert [len(each) for each in said] == [2, 1, 1], "the second turn of the last has no room"
    for turns, answers in zip(asked, said, strict=True):
        (ids,) = llama.prompt_ids([turns[0]])
        for turn, answer in enumerate(answers):
            if turn:
                ids = llama.next_turn_ids(ids, answers[turn - 1], turns[turn])
            assert answer == decode(_generated(llama.network, ids, end), skip_special_tokens=True)
    assert conversations.answer(llama, [], _sampling()) == []


@torch.no_grad()
@pytest.mark.parametrize("batch_size", [1, 3])
def test_losses_of_an_encoder_decoder_are_those_of_its_labels(t5: Any, batch_size: int) -> None:
    targets = [[9, 1], [30, 31, 32, 1], [1], [7] * 9 + [1]]
    windows = [Window(at, PROMPTS[at], ids, 0) for at, ids in enumerate(targets)]
    found = row_losses.row_losses(t5, windows, [4] * 4, row_losses.seq2seq, batch_size)
    for at, ids in enumerate(targets):
        labels = torch.tensor([ids])
        mean = t5(input_ids=torch.tensor([PROMPTS[at]]), labels=labels).loss.item()
        assert found.loss[at] / len(ids) == pytest.approx(mean, rel=1e-5)
    assert found.num_tokens.tolist() == found.response_tokens.tolist() == [2, 4, 1, 10]


CELLS = {
    "llama": "high_40_llama_respond",
    "llama-lora": "high_40_llama-lora_respond",
    "t5": "high_40_t5_translate",
}


def _with_models(project: Path) -> None:
    """Pretrained models beside the GPT-2 of the tiny project."""
    write_llama(project / "llama")
    write_t5(project / "t5")
    params: Any = copy.deepcopy(TINY)
    causal = {"family": "causal", "weights": "llama", "context": 128}
    params["train"]["models"] |= {
        "llama": causal,
        "llama-lora": causal | {"adapter": {"name": "lora", "rank": 4}},
        "t5": {"family": "seq2seq", "weights": "t5", "context": 128},
    }
    for name, objective in (("respond", "response"), ("translate", "seq2seq")):
        recipe = params["train"]["recipes"]["quick"] | {"objective": objective}
        params["train"]["recipes"][name] = recipe
    piqa = {"query": "Question: a", "choices": ["b", "c"], "gold": 1}
    (project / "piqa.jsonl").write_text(json.dumps(piqa))
    params["evaluate"]["benchmarks"] = [{"name": "PIQA", "path": "piqa.jsonl"}]
    write_params(project, params)


@pytest.mark.slow
def test_pretrained_models_are_trained_and_judged(project: Path, winnow: Winnow) -> None:
    _with_models(project)
    cells = CELLS.values()
    make_until("select", *cells)
    for command in ("train", "evaluate"):
        done = winnow(command, *cells, "--seed", "0")
        assert done.returncode == 0, done.stderr
    test = pq.read_table(project / "artifacts/curate/test.parquet")
    responses = test["response"].to_pylist()
    for model, cell in CELLS.items():
        out = project / f"results/{cell}/0"
        figures = json.loads((out / "evaluation/metrics.json").read_text())
        assert 0 < figures["response_loss"] < 40 and figures["bits_per_byte"] > 0
        items = pq.read_table(out / "evaluation/items.parquet").to_pydict()
        tokens = zip(items["num_tokens"], items["response_tokens"], strict=True)
        if model == "t5":
            assert items["num_bytes"] == [len(text.encode()) for text in responses]
            assert all(whole == response for whole, response in tokens)
        else:
            assert all(whole > response for whole, response in tokens)
        samples = (out / "generation_analysis/samples.jsonl").read_text().split("\n")[:-1]
        assert len(samples) == 6
        answered = json.loads((out / "benchmarks/metrics.json").read_text())["PIQA"]
        assert answered["num_items"] == 1 and 0 < answered["norm_correct_prob"] < 1
    talks = [{"turns": ["Say a.", "Say b."]}, {"turns": ["Say c.", "word " * 99]}]
    (project / "talks.jsonl").write_text("".join(f"{json.dumps(talk)}\n" for talk in talks))
    params = YAML(typ="safe").load(project / "params.yaml")
    params["evaluate"]["conversations"] = "talks.jsonl"
    write_params(project, params)
    done = winnow("evaluate", CELLS["llama"], "--seed", "0")
    assert done.returncode == 0, done.stderr
    out = project / f"results/{CELLS['llama']}/0/conversations/answers.jsonl"
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [len(line["answers"]) for line in lines] == [2, 1]
    assert "evaluate: 1 of 2 conversations broke off" in done.stdout
    done = winnow("evaluate", CELLS["t5"], "--seed", "0")
    assert done.returncode == 2 and "reads one question: leave them out" in done.stderr
    config = json.loads((project / "llama/config.json").read_text())
    (project / "llama/config.json").write_text(json.dumps(config | {"rms_norm_eps": 0.1}))
    done = winnow("evaluate", CELLS["llama-lora"], "--seed", "0")
    assert done.returncode == 2 and "was trained beside another llama" in done.stderr
    assert "Traceback" not in done.stderr
