"""Sampling beside the plain loop of `model.generate`.    python -m benchmarks.generate

Five completions a prompt of at most 200 tokens, at temperature 0.8 and top-p 0.9. The plain loop
draws them one by one, a second one five at a time; ours reads each prompt once and decodes many
prompts together. Sides take turns; completions differ, so it is their tokens a second that count,
medians. Rows of $WINNOW_DATA/instructions; on a CPU the sample's 1M model, schooled here for a
minute so that completions end, on one thread whose own time counts; on CUDA 500M with GPT-2's
tokenizer and random weights, fp32. Also prints how far losses move with the batch size.

    --rounds 3
    --dry       tiny model and few tokens: proves that the script runs to its end
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2LMHeadModel

from winnow.core.experiments import Model
from winnow.core.records import Row
from winnow.models import device, sampling
from winnow.models.gpt2 import GPT2
from winnow.models.judged import Judged
from winnow.models.sampling import Sampling
from winnow.models.tokenizer import Vocabulary

DATA = Path(os.environ["WINNOW_DATA"])
DECLARED = yaml.safe_load(Path("params.yaml").read_text())["train"]["models"]
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
LARGE = DEVICE.type == "cuda"
SAMPLES, TEMPERATURE, TOP_P = 5, 0.8, 0.9
BATCH = 32
"""Prompts that ours decodes together, as in params.yaml."""
PROMPTS = 64


def now() -> float:
    """The time, once the device has done what it was given; on CPU that of its one thread."""
    if LARGE:
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def tokenizer_of(rows: list[Row], folder: Path) -> Path:
    """GPT-2's on a GPU, else a BPE of 1024 tokens trained on the rows, written to a folder."""
    if LARGE:
        return DATA / "tokenizers/gpt2"
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    schooling = trainers.BpeTrainer(
        vocab_size=1024, special_tokens=["<end>"], show_progress=False, initial_alphabet=alphabet
    )
    bpe.train_from_iterator([row.text for row in rows], schooling)
    bpe.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<end>"}))
    return folder


def school(model: GPT2LMHeadModel, rows: list[Row], vocabulary: Vocabulary, steps: int) -> None:
    """Teach a model where responses end, on rows one behind another."""
    found = vocabulary.encodings([row.text for row in rows])
    stream = torch.tensor([i for one in found for i in (vocabulary.end_of_text, *one.ids)])
    width = model.config.n_positions
    sequences = stream[: len(stream) // width * width].view(-1, width)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for step in range(steps):
        batch = sequences[torch.arange(step * 8, step * 8 + 8) % len(sequences)].to(DEVICE)
        model(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


@torch.no_grad()
def plain(
    model: GPT2LMHeadModel, prompts: list[str], vocabulary: Vocabulary, tokens: int, together: int
) -> int:
    """The tokens of `model.generate`, a prompt at a time and so many of its samples."""
    number, end = 0, vocabulary.end_of_text
    for encoding in vocabulary.encodings(prompts):
        ids = torch.tensor([[end, *encoding.ids]], device=DEVICE)
        for _ in range(SAMPLES // together):
            found = model.generate(
                input_ids=ids,
                attention_mask=torch.ones_like(ids),
                do_sample=True,
                temperature=TEMPERATURE,
                top_p=TOP_P,
                top_k=0,
                num_return_sequences=together,
                max_new_tokens=min(tokens, model.config.n_positions - ids.shape[1]),
                pad_token_id=end,
                eos_token_id=end,
            )[:, ids.shape[1] :]
            number += counted(found, end)
    return number


def ours(judged: Judged, prompts: list[str], tokens: int) -> int:
    """The tokens of ours."""
    vocabulary = judged.vocabulary
    number, decode = 0, sampling._decode

    def counting(*arguments: object) -> torch.Tensor:
        nonlocal number
        found = decode(*arguments)
        number += counted(found, vocabulary.end_of_text)
        return found

    sampling._decode = counting
    settings = Sampling(
        num_samples=SAMPLES,
        max_new_tokens=tokens,
        temperature=TEMPERATURE,
        top_p=TOP_P,
        batch_size=BATCH,
        seed=0,
    )
    end = vocabulary.end_of_text
    judged.complete([[end, *one.ids] for one in vocabulary.encodings(prompts)], settings)
    sampling._decode = decode
    return number


def counted(found: torch.Tensor, end: int) -> int:
    """Tokens that were drawn: those before the first end-of-text."""
    return int((found != end).sum())


def independence(judged: Judged, rows: pa.Table) -> float:
    """The largest difference of a row's loss per token between batches of 1 and of 32."""
    alone, beside = (judged.row_losses(rows, batch_size) for batch_size in (1, 32))
    return float((abs(alone.loss - beside.loss) / alone.num_tokens).max())


def main() -> None:
    """Measure both, print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dry", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    path = min((DATA / "instructions").glob("*.parquet"))
    table = pq.read_table(path).slice(0, 300 if options.dry else 3000)
    rows = [Row(**row) for row in table.to_pylist()]
    name = "500M" if LARGE else "1M"
    tiny = Model(num_layers=2, hidden_size=32, num_heads=2, context=256)
    spec = tiny if options.dry else Model(**DECLARED[name])
    with tempfile.TemporaryDirectory() as folder:
        family = GPT2(spec, tokenizer_of(rows, Path(folder)), "scratch")
    family.build(0)
    vocabulary, model = family.vocabulary, family.network.to(DEVICE)
    if not LARGE:
        school(model, rows, vocabulary, 2 if options.dry else 150)
    model.eval()
    judged = Judged(family)
    room = model.config.n_positions // 2 - 1
    encodings = vocabulary.encodings([row.prompt for row in rows])
    fitting = [r.prompt for r, e in zip(rows, encodings, strict=True) if len(e.ids) <= room]
    prompts, few, tokens = fitting[:PROMPTS], fitting[: 2 if LARGE else 8], 200
    if options.dry:
        prompts, few, tokens = prompts[:4], few[:1], 8
    sides: dict[str, Callable[[], int]] = {
        "generate, one by one": lambda: plain(model, few, vocabulary, tokens, 1),
        "generate, five at a time": lambda: plain(model, few, vocabulary, tokens, SAMPLES),
        "ours": lambda: ours(judged, prompts, tokens),
    }
    speeds: dict[str, list[float]] = {side: [] for side in sides}
    means: dict[str, float] = {}
    for _ in range(options.rounds):
        for side, run in sides.items():
            began = now()
            number = run()
            speeds[side].append(number / (now() - began))
            asked = prompts if side == "ours" else few
            means[side] = number / len(asked) / SAMPLES
    print(f"{'tiny' if options.dry else name}, fp32, {device.environment()}")
    base = statistics.median(speeds["generate, one by one"])
    for side, found in speeds.items():
        middle = statistics.median(found)
        text = f"  {side:26}{middle:10,.0f} tokens/s{means[side]:8.0f} a completion"
        print(f"{text}{middle / base:8.1f}")
    moved = independence(judged, table.slice(0, 200))
    print(f"largest difference of a row's loss per token, batch 1 against 32: {moved:.1e}")
    print(f"ratio {statistics.median(speeds['ours']) / base:.1f}")


if __name__ == "__main__":
    main()
