"""A text tower with only the embedding rows of the tokens that the training texts use; its tokenizer is cut with it.

The texts are those of the fold's training products alone: a word that only held-out products use falls into letters, or
becomes unknown, as it will for products that nobody has seen yet. Tokens beyond `max_tokens` count too, because word
dropout and swaps bring them in. The tower that results is an ordinary one of a smaller vocabulary.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pipeline_lib.models.towers import Description, TowerSource
from pipeline_lib.transforms.tokenize import TextTokenizer

# Kind of text tower -> where its config lies in the description, and the names that word embeddings go by.
WORDS: dict[str, tuple[str, tuple[str, ...]]] = {
    "hf": ("config", ("trunk.embeddings.word_embeddings.weight", "trunk.wte.weight")),
    "open_clip": ("text_cfg", ("text.token_embedding.weight",)),
}


def cut_vocabulary(
    source: TowerSource, tokenizer: TextTokenizer, texts: Sequence[str]
) -> tuple[TowerSource, TextTokenizer]:
    """Return the source and the tokenizer of a text tower cut to the tokens that `texts` and new words need.

    Raises ValueError for a kind of tower or of tokenizer that cannot be cut.
    """
    description = source.description
    if description["kind"] not in WORDS:
        raise ValueError(
            f"model.text.vocabulary = 'cut' is not known for a tower of kind {description['kind']!r}; write full"
        )
    where, names = WORDS[description["kind"]]
    config = description[where]
    # The padding row is the config's own, whatever the tokenizer pads with: RoBERTa counts positions by it.
    padding = config.get("pad_token_id")
    cut, old = tokenizer.cut(texts, () if padding is None else (padding,))
    whole = int(config.get("vocab_size", 0))
    if old[-1] >= whole:
        raise ValueError(
            f"model.text.name: the tokenizer's id {old[-1]} has no row among the tower's {whole} word embeddings"
        )
    numbers = {number: row for row, number in enumerate(old)}
    changed: Description = {**description, where: {**_renumbered(config, numbers), "vocab_size": len(old)}}
    if source.state is None:
        return replace(source, description=changed), cut
    tables = {name: value for name, value in source.state.items() if name in names}
    if cut_before := [name for name, table in tables.items() if len(table) != whole]:
        raise ValueError(
            f"{source.weights}: {cut_before[0]} has {len(tables[cut_before[0]])} rows for {whole} tokens, so it was "
            "cut already; start from a model that was trained with model.text.vocabulary = full"
        )
    rows = {name: table[old].clone() for name, table in tables.items()}
    assert len(rows) == 1, f"one table of word embeddings is expected, found {sorted(rows)}"
    label = f"{source.weights}, {len(old):,} of {whole:,} tokens"
    return replace(source, description=changed, weights=label, state={**source.state, **rows}), cut


def _renumbered(config: dict[str, Any], numbers: dict[int, int]) -> dict[str, Any]:
    """Give every `*_token_id` of a config its new id, None where the token is gone."""
    found = {
        key: numbers.get(value)
        for key, value in config.items()
        if key.endswith("_token_id") and isinstance(value, int) and not isinstance(value, bool)
    }
    return {**config, **found}
