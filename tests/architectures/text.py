"""Language models of transformers, built from small configurations with random weights."""

from collections.abc import Callable

import pytest

from tests.architectures.cases import Case, log_factorial, tokens


def heads(number: int, depth: int) -> float:
    """Heads, and inside each the features of queries and keys and those of values."""
    return log_factorial(number) + 2 * number * log_factorial(depth)


def distilbert() -> Case:
    """The stream of 6, in each of two layers two heads of 3 and 8 between, and the classifier's hidden layer of 6."""
    library = pytest.importorskip("transformers")
    config = library.DistilBertConfig(
        vocab_size=11, max_position_embeddings=8, n_layers=2, n_heads=2, dim=6, hidden_dim=8, num_labels=3
    )
    order = 2 * log_factorial(6) + 2 * (heads(2, 3) + log_factorial(8))
    return library.DistilBertForSequenceClassification(config), tokens(), order


def bert() -> Case:
    """The stream of 6, in each of two layers three heads of 2 and 7 between, and the pooler's 6."""
    library = pytest.importorskip("transformers")
    config = library.BertConfig(
        vocab_size=11, hidden_size=6, num_hidden_layers=2, num_attention_heads=3, intermediate_size=7,
        max_position_embeddings=8, num_labels=3, use_cache=False,
    )  # fmt: skip
    order = 2 * log_factorial(6) + 2 * (heads(3, 2) + log_factorial(7))
    return library.BertForSequenceClassification(config), tokens(), order


def gpt2() -> Case:
    """The stream of 6, on which the tied embedding lies twice; in each of two layers two heads of 3 and 8 between."""
    library = pytest.importorskip("transformers")
    config = library.GPT2Config(
        vocab_size=11, n_positions=8, n_embd=6, n_layer=2, n_head=2, n_inner=8, use_cache=False, bos_token_id=0,
        eos_token_id=0,
    )  # fmt: skip
    return library.GPT2LMHeadModel(config), tokens(), log_factorial(6) + 2 * (heads(2, 3) + log_factorial(8))


def llama() -> Case:
    """The stream of 8; in each of two layers S_2 on the pairs of keys and values, S_2 on the queries of each, S_4 on
    the values of each, and 7 between; the rotated features stay.
    """
    library = pytest.importorskip("transformers")
    config = library.LlamaConfig(
        vocab_size=11, hidden_size=8, intermediate_size=7, num_hidden_layers=2, num_attention_heads=4, head_dim=4,
        num_key_value_heads=2, max_position_embeddings=8, use_cache=False, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    inner = log_factorial(2) + 2 * log_factorial(2) + 2 * log_factorial(4) + log_factorial(7)
    return library.LlamaForCausalLM(config), tokens(), log_factorial(8) + 2 * inner


CASES: tuple[Callable[[], Case], ...] = (distilbert, bert, gpt2, llama)
