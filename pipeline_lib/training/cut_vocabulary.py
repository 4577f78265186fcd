"""A text tower reduced to the embedding rows of the tokens in the training texts, with a tokenizer of these tokens.

The texts are those of the fold's training products only. So a word that only held-out products use is split into
letters or becomes unknown, as the words of future products will be. Tokens after `max_tokens` are included, because
word dropout and swaps can move them forward. The result is an ordinary tower with a smaller vocabulary.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipeline_lib.towers.tower import Description, TowerSource
from pipeline_lib.transforms.tokenize import TextTokenizer

# Kind of text tower -> (key of its config in the description, names of the word embedding parameter).
WORDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "hf": ("config", ("trunk.embeddings.word_embeddings.weight", "trunk.wte.weight")),
    "open_clip": ("text_cfg", ("text.token_embedding.weight",)),
}


def cut_vocabulary(
    source: TowerSource, tokenizer: TextTokenizer, texts: Sequence[str]
) -> tuple[TowerSource, TextTokenizer]:
    """Return the source and the tokenizer of a text tower, reduced to the tokens of `texts` and those of unknown words.

    Raises ValueError for a kind of tower or of tokenizer that cannot be cut.
    """
    description = source.description
    if description["kind"] not in WORDS:
        raise ValueError(
            f"model.text_vocabulary = 'cut' does not support a tower of kind {description['kind']!r}; write full"
        )
    key, names = WORDS[description["kind"]]
    config = description[key]
    # The padding id of the config stays, even if the tokenizer pads with another: RoBERTa counts positions by it.
    padding = config.get("pad_token_id")
    cut, old = tokenizer.cut(texts, () if padding is None else (padding,))
    vocab_size = int(config.get("vocab_size", 0))
    if old[-1] >= vocab_size:
        raise ValueError(
            f"model.text.name: the tokenizer's id {old[-1]} has no row among the tower's {vocab_size} word embeddings"
        )
    numbers = {number: row for row, number in enumerate(old)}
    changed: Description = {**description, key: {**_renumbered(config, numbers), "vocab_size": len(old)}}
    if source.state is None:
        return replace(source, description=changed), cut
    tables = {name: source.state[name] for name in source.state if name in names}
    if already_cut := [name for name, table in tables.items() if len(table) != vocab_size]:
        raise ValueError(
            f"{source.weights}: {already_cut[0]} has {len(tables[already_cut[0]])} rows for {vocab_size} tokens, so it "
            "was cut before; start from a model that was trained with model.text_vocabulary = full"
        )
    rows = {name: table[old].clone() for name, table in tables.items()}
    assert len(rows) == 1, f"expected one table of word embeddings, got {sorted(rows)}"
    label = f"{source.weights}, {len(old):,} of {vocab_size:,} tokens"
    return replace(source, description=changed, weights=label, state={**source.state, **rows}), cut


def _renumbered(config: dict[str, Any], numbers: dict[int, int]) -> dict[str, Any]:
    """Map every `*_token_id` of a config to its new id, None if the token was removed."""
    ids = {
        key: numbers.get(value)
        for key, value in config.items()
        if key.endswith("_token_id") and isinstance(value, int) and not isinstance(value, bool)
    }
    return {**config, **ids}
