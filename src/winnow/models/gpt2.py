"""The GPT-2 models, with fresh weights."""

from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

from winnow.core.experiments import Model

# A bar for each file of weights that is read or written says nothing beside the training's own.
logging.disable_progress_bar()


def padded(vocab_size: int) -> int:
    """The next multiple of 64, which the matrix units like; the padding is never a target."""
    return -(-vocab_size // 64) * 64


def build(model: Model, vocab_size: int, end_of_text: int) -> GPT2LMHeadModel:
    """A GPT-2 with fresh weights from torch's current seed and a padded vocabulary."""
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=padded(vocab_size),
            n_positions=model.context,
            n_embd=model.hidden_size,
            n_layer=model.num_layers,
            n_head=model.num_heads,
            # GPT-2's own function, as one kernel: its default name is nine steps through memory.
            activation_function="gelu_pytorch_tanh",
            resid_pdrop=model.dropout,
            embd_pdrop=model.dropout,
            attn_pdrop=model.dropout,
            bos_token_id=end_of_text,
            eos_token_id=end_of_text,
            loss_type="ForCausalLM",
        )
    )


def num_parameters(model: Model, vocab_size: int) -> int:
    """Parameters of the model, output embeddings tied (counted once), position table included."""
    width = model.hidden_size
    per_layer = 12 * width**2 + 13 * width
    embeddings = (padded(vocab_size) + model.context) * width
    return model.num_layers * per_layer + embeddings + 2 * width
