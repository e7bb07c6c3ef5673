"""The training loop beside a plain Trainer, packed and padded.    python -m benchmarks.train

Rows of $WINNOW_DATA/instructions; a BPE of 1024 tokens trained here for the small models, GPT-2's
for the large ones. Every side builds its model anew, takes some steps and then those that are
timed; the sides take turns, medians are printed. On CPU all run on one thread, whose own time
counts. Useful tokens are those whose loss counts. The plain Trainer is Hugging Face's with its
defaults, at the same batch and precision, without checkpoints or reports: on the same packed rows,
and on one document a row, padded to the context.

    --models 500M 1B      on CUDA; default there. On CPU: 1M 10M
    --trials              also our loop with one technique more or less
    --limits 20 35        on CUDA: also our loop in so many GB a model, in the order of --models
    --dry                 tiny models and two steps: proves that the script runs to its end

Needs torch, transformers, accelerate, tokenizers, numpy, pyarrow and PyYAML.
"""

import argparse
import gc
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from accelerate.state import AcceleratorState
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments
from transformers.activations import ACT2FN
from transformers.utils import logging

from winnow.core.experiments import Model, Recipe
from winnow.core.records import texts
from winnow.models import device, gpt2, loss, sequences
from winnow.models.tokenizer import Tokens, Vocabulary
from winnow.train import loop, objectives

DATA = Path(os.environ["WINNOW_DATA"])
DECLARED = yaml.safe_load(Path("params.yaml").read_text())["train"]["models"]
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
LARGE = DEVICE.type == "cuda"
PEAK = 989e12
"""Dense bf16 FLOP/s of an H100 or H200 (SXM), from their data sheets."""
CLOCK = time.perf_counter if DEVICE.type == "cuda" else time.process_time
TINY = Model(num_layers=2, hidden_size=32, num_heads=2, context=64)


@dataclass(frozen=True)
class Work:
    """What every side trains: a model on documents, in batches."""

    model: Model
    documents: list[Tokens]
    vocab_size: int
    end: int
    micro: int
    accumulation: int
    kind: str
    warm: int
    steps: int

    @property
    def num_sequences(self) -> int:
        """Sequences of all steps."""
        return self.micro * self.accumulation * (self.warm + self.steps)

    def packed(self) -> sequences.Sequences:
        """Packed sequences for all steps."""
        rows = sequences.pack(self.documents, self.model.context, self.end)
        order = np.random.default_rng(0).permutation(len(rows))
        return rows[np.resize(order, self.num_sequences)]

    def padded(self) -> sequences.Sequences:
        """The same number of sequences, of one document each."""
        size, context = self.num_sequences, self.model.context
        rows = sequences.pad(self.documents[:size], context, self.end)
        return rows[np.resize(np.arange(len(rows)), size)]


@dataclass(frozen=True)
class Measured:
    """One turn of one side."""

    tokens: float
    """Useful ones a second."""
    waiting: float
    """Share of the time in which data is made ready; nan where it is not ours to know."""
    memory: float
    """Peak in GB, on CUDA."""


def now() -> float:
    """The time, once the device has done what it was given; on CPU that of its one thread."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()
    return CLOCK()


def memory() -> float:
    """The most GB that were allocated since the turn began."""
    return torch.cuda.max_memory_allocated() / 1e9 if DEVICE.type == "cuda" else float("nan")


def build(work: Work) -> torch.nn.Module:
    """The model, made on the device: a thousand million random numbers take a CPU long."""
    torch.manual_seed(0)
    with DEVICE:
        return gpt2.build(work.model, work.vocab_size, work.end)


def with_activation(model: Any, name: str) -> None:
    """Give a model another activation."""
    for block in model.transformer.h:
        block.mlp.act = ACT2FN[name]


def ours(
    work: Work, change: Callable[[Any], Any] = lambda model: None, by_document: bool = LARGE
) -> Measured:
    """A turn of winnow's loop."""
    rows, size = work.packed(), work.micro * work.accumulation
    model = build(work)
    change(model)
    recipe = Recipe(
        learning_rate=1e-4,
        num_train_epochs=1,
        per_device_train_batch_size=work.micro,
        gradient_accumulation_steps=work.accumulation,
        eval_steps=1,
        save_steps=1,
    )
    with tempfile.TemporaryDirectory() as folder:
        module = partial(loss.WithLoss, by_document=by_document)
        plan = loop.Plan(
            *(model, recipe, rows, rows, 0, work.kind, Path(folder), {}),
            objective=objectives.Tokens(module),
        )
        run = loop.Run(plan)
        run.model.train()
        waited = began = 0.0
        batches = loop.batches(rows, np.arange(len(rows)), size)
        for step in range(work.warm + work.steps):
            if step == work.warm:
                began, waited = now(), 0.0
            before = CLOCK()
            batch = next(batches)
            waited += CLOCK() - before
            run.step(batch)
        run.look()
        seconds = now() - began
    before = CLOCK()
    for part in loop.batches(rows[:size], np.arange(size), work.micro):
        objectives.tensors(part, DEVICE)
    waited += (CLOCK() - before) * work.steps
    useful = rows[work.warm * size :].num_targets
    return Measured(useful / seconds, waited / seconds, memory())


class Clock(TrainerCallback):  # type: ignore[misc]
    """When the timed steps of a Trainer begin and end."""

    def __init__(self, warm: int) -> None:
        self.warm, self.began, self.ended = warm, 0.0, 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """Note the time."""
        self.ended = now() if state.global_step >= self.warm else 0.0
        self.began = self.ended if state.global_step == self.warm else self.began


def trainer(work: Work, rows: sequences.Sequences, padded: bool) -> Measured:
    """A turn of the plain Trainer; it shifts the labels itself, which costs it a row's last one."""
    model = build(work)
    with_activation(model, "gelu_new")
    nothing = np.full((len(rows), 1), sequences.IGNORED, np.int32)
    labels = np.concatenate([nothing, rows.labels[:, :-1]], 1).astype(np.int64)
    items = [
        {"input_ids": i, "labels": label, "position_ids": p}
        if not padded
        else {
            "input_ids": i,
            "labels": label,
            "attention_mask": (n != sequences.IGNORED).astype(int),
        }
        for i, p, label, n in zip(
            rows.inputs.astype(np.int64),
            rows.positions.astype(np.int64),
            labels,
            rows.labels,
            strict=True,
        )
    ]
    clock = Clock(work.warm)
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            folder,
            per_device_train_batch_size=work.micro,
            gradient_accumulation_steps=work.accumulation,
            max_steps=work.warm + work.steps,
            learning_rate=1e-4,
            weight_decay=0.01,
            bf16=work.kind == "bf16",
            use_cpu=DEVICE.type == "cpu",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        )
        side = Trainer(model, arguments, train_dataset=items, callbacks=[clock])
        side.remove_callback(PrinterCallback)
        side.train()
    share = work.steps / (work.warm + work.steps)
    return Measured(rows.num_targets * share / (clock.ended - clock.began), float("nan"), memory())


def trials(work: Work) -> dict[str, Callable[[], Measured]]:
    """Our loop with one technique more or less."""

    def logits() -> Measured:
        with mock.patch.multiple(loss, LOGITS=2**62, LOGITS_CPU=2**62):
            return ours(work)

    def unfused() -> Measured:
        plain = loop.optimizer

        def optimizer(*arguments: Any) -> Any:
            made = plain(*arguments)
            for group in made.param_groups:
                group["fused"] = False
            return made

        with mock.patch.object(loop, "optimizer", optimizer):
            return ours(work)

    def attention(name: str) -> Callable[[], Measured]:
        return lambda: ours(work, lambda model: model.set_attn_implementation(name), False)

    def compiled(model: Any) -> None:
        for block in model.transformer.h:
            block.compile()

    return {
        "ours, logits whole": logits,
        "ours, AdamW not fused": unfused,
        "ours, GELU in nine steps": lambda: ours(
            work, lambda model: with_activation(model, "gelu_new")
        ),
        "ours, attention by a mask" if LARGE else "ours, attention by documents": lambda: ours(
            work, by_document=not LARGE
        ),
        "ours, attention eager": attention("eager"),
        "ours, blocks compiled": lambda: ours(work, compiled),
        "ours, without dropout": lambda: ours(
            replace(work, model=replace(work.model, dropout=0.0))
        ),
    }


def turn(side: Callable[[], Measured]) -> Measured | None:
    """One turn on an empty device; None, with the reason said, where it does not run there."""
    # What a Trainer tells Accelerate of its precision holds for the whole process.
    os.environ.pop("ACCELERATE_MIXED_PRECISION", None)
    AcceleratorState._reset_state(reset_partial_state=True)
    gc.collect()
    if DEVICE.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        return side()
    except (RuntimeError, ValueError) as error:
        print(f"{type(error).__name__}: {str(error).splitlines()[0]}", flush=True)
        return None


def limited(work: Work, gigabytes: float) -> tuple[str, Measured | None]:
    """Our loop in so much memory, its micro-batch halved until it fits."""
    whole = torch.cuda.get_device_properties(DEVICE).total_memory
    torch.cuda.set_per_process_memory_fraction(gigabytes * 1e9 / whole)
    found, tried = None, work
    while found is None and tried.micro:
        found = turn(lambda tried=tried: ours(tried))  # type: ignore[misc]
        if found is None:
            tried = replace(tried, micro=tried.micro // 2, accumulation=tried.accumulation * 2)
    torch.cuda.set_per_process_memory_fraction(1.0)
    return f"ours in {gigabytes:g} GB, {tried.micro} x {tried.accumulation}", found


def show(name: str, turns: list[Measured | None], work: Work, base: float) -> None:
    """A row of the table."""
    if None in turns:
        print(f"  {name:32} does not run here", flush=True)
        return
    middle = [statistics.median(getattr(t, n) for t in turns) for n in ("tokens", "waiting")]
    top = max(t.memory for t in turns if t)
    text = f"  {name:32}{middle[0]:12,.0f}{middle[0] / base:9.2f}"
    text += f"{middle[1]:9.2%}" if middle[1] == middle[1] else f"{'':9}"
    if DEVICE.type == "cuda":
        size = gpt2.num_parameters(work.model, work.vocab_size)
        shape = work.model.num_layers * work.model.hidden_size
        flops = 6 * size + 12 * shape * work.model.context
        text += f"{middle[0] * flops / PEAK:8.1%}{top:9.1f} GB"
    print(text, flush=True)


def documents(large: bool, number: int) -> tuple[list[Tokens], int, int]:
    """Rows as tokens, the vocabulary's size, the end-of-text."""
    table = pa.concat_tables(
        pq.read_table(path) for path in sorted((DATA / "instructions").glob("*.parquet"))
    )
    drawn = np.random.default_rng(0).permutation(len(table))[:number]
    strings = texts(table.take(drawn))
    if large:
        vocabulary = Vocabulary.read(DATA / "tokenizers/gpt2")
        return vocabulary.encode(strings), vocabulary.size, vocabulary.end_of_text
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    schooling = trainers.BpeTrainer(
        vocab_size=1024, special_tokens=["<end>"], show_progress=False, initial_alphabet=alphabet
    )
    bpe.train_from_iterator(strings.to_pylist(), schooling)
    found = bpe.encode_batch(strings.to_pylist())
    return [np.array([*one.ids, 0], np.int32) for one in found], 1024, 0


def measure(name: str, options: argparse.Namespace, limit: float | None) -> None:
    """Print the table of one model."""
    large = name in ("500M", "1B") and not options.dry
    model = TINY if options.dry else Model(**DECLARED[name])
    number = 300 if options.dry else 20_000 if large else 6000
    tokens, size, end = documents(large, number)
    micro, accumulation = (8, 4) if large else (4, 1)
    warm, steps = (1, 2) if options.dry else (2, 5) if large else (3, options.steps)
    kind = device.precision("auto", DEVICE)
    work = Work(model, tokens, size, end, micro, accumulation, kind, warm, steps)
    packed, padded = work.packed(), work.padded()
    sides: dict[str, Callable[[], Measured]] = {
        "plain Trainer, packed": lambda: trainer(work, packed, False),
        "plain Trainer, padded": lambda: trainer(work, padded, True),
        "ours": lambda: ours(work),
    }
    if options.trials or options.dry:
        sides |= trials(work)
    turns: dict[str, list[Measured | None]] = {side: [] for side in sides}
    for _ in range(1 if options.dry else options.rounds):
        for side, run in sides.items():
            turns[side].append(done := turn(run))
            if LARGE and done:  # in case that the time ends before the table
                print(f"{name}, {side}: {done.tokens:,.0f} tokens/s", flush=True)
    print(f"{name}: {gpt2.num_parameters(model, size) / 1e6:.1f}M parameters", end="")
    print(f", context {model.context}, {micro} x {accumulation} sequences a step, {kind}, ", end="")
    print(f"{device.environment()}, median of {len(turns['ours'])} turns of {steps} steps")
    print(f"  {'':32}{'tokens/s':>12}{'ratio':>9}{'waiting':>9}", end="")
    print(f"{'MFU':>8}{'peak':>12}" if DEVICE.type == "cuda" else "")
    plain = [turn.tokens for turn in turns["plain Trainer, packed"] if turn]
    base = statistics.median(plain) if plain else float("nan")
    for side, found in turns.items():
        show(side, found, work, base)
    if limit and DEVICE.type == "cuda":
        side, in_limit = limited(work, limit)
        show(side, [in_limit], work, base)
    elif limit:
        print(f"  ours in {limit:g} GB: not run, needs CUDA")


def main() -> None:
    """Measure every model."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", nargs="+", choices=list(DECLARED))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30, help="timed steps of the small models")
    parser.add_argument("--limits", type=float, nargs="+", default=[])
    parser.add_argument("--trials", action="store_true")
    parser.add_argument("--dry", action="store_true")
    options = parser.parse_args()
    logging.set_verbosity_error()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", message="'pin_memory'")
    small = DEVICE.type == "cpu" and not options.dry
    names = options.models or (["1M", "10M"] if small else ["500M", "1B"])
    limits = [*(options.limits or ([20, 35] if names == ["500M", "1B"] else []))]
    for name, limit in zip(names, [*limits, *[None] * len(names)], strict=False):
        measure(name, options, limit)
    if DEVICE.type == "cuda":
        print(f"MFU: (6N + 12LdT) FLOPs a useful token over {PEAK / 1e12:.0f} TFLOP/s (dense bf16)")
    else:
        print("MFU, memory and the models of 500M and 1B: not measured, there is no GPU here")


if __name__ == "__main__":
    main()
