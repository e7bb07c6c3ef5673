"""Small models of the architectures that judges of text have, made here."""

from pathlib import Path

import pyarrow as pa
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
SIGNS = [chr(code) for code in range(33, 127)]
CONTEXT = 64


def bert_folder(folder: Path, labels: tuple[str, ...] = ("LABEL_0",), **config: str) -> Path:
    """Save a BERT of two layers, as FineWeb-Edu's classifier is one of twelve: weights of chance,
    the last layer's scaled up so that texts differ by whole points."""
    vocabulary = [*SPECIAL, *SIGNS, *(f"##{sign}" for sign in SIGNS)]
    ids = {token: number for number, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(ids, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token"), SPECIAL, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names).save_pretrained(folder)
    torch.manual_seed(0)
    model = BertForSequenceClassification(
        BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=64,
            max_position_embeddings=CONTEXT,
            id2label=dict(enumerate(labels)),
            label2id={label: number for number, label in enumerate(labels)},
            initializer_range=0.3,
            **config,
        )
    )
    model.classifier.weight.data *= 2
    model.save_pretrained(folder)
    return folder


def rows(*texts: tuple[str, str, str]) -> pa.Table:
    """Rows of instruction, input and response."""
    parts = zip(*texts, strict=True)
    return pa.table(dict(zip(("instruction", "input", "response"), parts, strict=True)))
