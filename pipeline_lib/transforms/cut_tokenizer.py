"""A tokenizer.json cut to the tokens that some texts use: WordPiece, BPE, Unigram and WordLevel, ids counted anew.

The file itself is rewritten, not an id map kept beside it: an unseen word then still falls into the pieces that are
left, whoever reads the file, where a map could only call it unknown. What those texts' tokens are does not change:
WordPiece takes the longest piece there is, BPE keeps every merge on the way to a kept token, Unigram's best path only
loses rivals, and the token of the lowest score stays because the price of the unknown hangs on it.
"""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any

from tokenizers import Tokenizer

from pipeline_lib.transforms.text_views import IS_HAN

Spec = dict[str, Any]
Numbers = dict[int, int]

BYTE = re.compile(r"<0x[0-9A-F]{2}>")
SPACE = "▁"  # SentencePiece's mark before a word


def cut_tokenizer(tokenizer: Tokenizer, texts: Iterable[str], also: Iterable[int] = ()) -> tuple[Tokenizer, list[int]]:
    """Return the tokenizer with only the tokens it needs, and the old id of each new one, ascending.

    It needs those of `texts` at any length, added and special ones, the ids `also`, and single letters, so that a new
    word still has pieces. A Han character is a word, not a letter: texts must use it, or it becomes unknown.
    Raises ValueError for a kind of model that is not known here.
    """
    spec: Spec = json.loads(tokenizer.to_str())
    kind = spec["model"].get("type")
    if kind not in CUTS:
        raise ValueError(
            f"a tokenizer of type {kind!r} cannot be cut; known: {', '.join(CUTS)}; write model.text.vocabulary = full"
        )
    vocabulary: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    kept = _needed(tokenizer, spec, vocabulary, texts) | (set(also) & set(vocabulary.values()))
    ids = CUTS[kind](spec["model"], kept)
    # Added tokens may lie outside the model's own vocabulary.
    old = sorted(ids | {added["id"] for added in spec["added_tokens"]})
    numbers = {number: row for row, number in enumerate(old)}
    _renumber(spec, numbers)
    return _checked(Tokenizer.from_str(json.dumps(spec)), vocabulary, numbers), old


def _needed(tokenizer: Tokenizer, spec: Spec, vocabulary: dict[str, int], texts: Iterable[str]) -> set[int]:
    model = spec["model"]
    tokenizer.no_truncation()
    # The empty text and pair show the special tokens around every other.
    encodings = [*tokenizer.encode_batch_fast(list(texts)), tokenizer.encode(""), tokenizer.encode("", "")]
    kept = {number for encoding in encodings for number in encoding.ids}
    kept |= {added["id"] for added in spec["added_tokens"]}
    if spec["padding"]:
        kept.add(spec["padding"]["pad_id"])
    if model.get("unk_token") in vocabulary:
        kept.add(vocabulary[model["unk_token"]])
    before = (model.get("continuing_subword_prefix") or "", SPACE)
    after = model.get("end_of_word_suffix") or ""
    return kept | {number for token, number in vocabulary.items() if _is_letter(token, before, after)}


def _is_letter(token: str, before: tuple[str, str], after: str) -> bool:
    """Tell single letters, inside, at the start or at the end of a word, and the bytes of the byte fallback."""
    bare = token.removesuffix(after)
    for mark in before:
        bare = bare.removeprefix(mark)
    return BYTE.fullmatch(token) is not None or (len(bare or token) == 1 and not IS_HAN.match(bare))


def _cut_words(model: Spec, kept: set[int]) -> set[int]:
    """Cut WordPiece and WordLevel, whose vocabulary is all they have."""
    model["vocab"] = {token: number for token, number in model["vocab"].items() if number in kept}
    return set(model["vocab"].values())


def _cut_bpe(model: Spec, kept: set[int]) -> set[int]:
    """Keep with each token the merges that make it, and the tokens these need, down to single letters."""
    vocabulary: dict[str, int] = model["vocab"]
    inside = len(model["continuing_subword_prefix"] or "")
    makers: dict[str, list[tuple[str, str]]] = {}
    for left, right in model["merges"]:
        makers.setdefault(left + right[inside:], []).append((left, right))
    wanted: set[str] = set()
    open_tokens = [token for token, number in vocabulary.items() if number in kept]
    while open_tokens:
        token = open_tokens.pop()
        if token not in wanted:
            wanted.add(token)
            open_tokens += [part for pair in makers.get(token, ()) for part in pair]
    model["vocab"] = {token: number for token, number in vocabulary.items() if token in wanted}
    model["merges"] = [pair for pair in model["merges"] if pair[0] + pair[1][inside:] in wanted]
    return set(model["vocab"].values())


def _cut_unigram(model: Spec, kept: set[int]) -> set[int]:
    """Keep also the unknown token and the one of the lowest score."""
    scores = [score for _, score in model["vocab"]]
    kept = kept | {scores.index(min(scores))}
    if model["unk_id"] is not None:
        kept.add(model["unk_id"])
    old = [number for number in range(len(scores)) if number in kept]
    model["vocab"] = [model["vocab"][number] for number in old]
    return set(old)


def _renumber(spec: Spec, numbers: Numbers) -> None:
    model = spec["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {token: numbers[number] for token, number in model["vocab"].items()}
    if model.get("unk_id") is not None:
        model["unk_id"] = numbers[model["unk_id"]]
    for added in spec["added_tokens"]:
        added["id"] = numbers[added["id"]]
    if spec["padding"]:
        spec["padding"]["pad_id"] = numbers[spec["padding"]["pad_id"]]
    if spec["post_processor"]:
        _renumber_processor(spec["post_processor"], numbers)


def _renumber_processor(processor: Spec, numbers: Numbers) -> None:
    """Give the special tokens that a post-processor puts around a text their new ids."""
    for inner in processor.get("processors", ()):
        _renumber_processor(inner, numbers)
    for end in ("sep", "cls"):
        if end in processor:
            token, number = processor[end]
            processor[end] = [token, numbers[number]]
    # A byte-level processor has none.
    for special in processor.get("special_tokens", {}).values():
        special["ids"] = [numbers[number] for number in special["ids"]]


def _checked(tokenizer: Tokenizer, vocabulary: dict[str, int], numbers: Numbers) -> Tokenizer:
    """Return the tokenizer if it gives every kept token its new id; libraries count added tokens by rules of theirs."""
    wrong = [
        token for token, old in vocabulary.items() if old in numbers and tokenizer.token_to_id(token) != numbers[old]
    ]
    if wrong:
        raise ValueError(
            f"the tokenizer's token {wrong[0]!r} (id {vocabulary[wrong[0]]}) has no place in a cut vocabulary; write "
            "model.text.vocabulary = full"
        )
    return tokenizer


# Kind of model -> function(model of a tokenizer.json, ids to keep), which cuts the model and returns the ids it kept.
CUTS: dict[str, Callable[[Spec, set[int]], set[int]]] = {
    "WordPiece": _cut_words,
    "WordLevel": _cut_words,
    "BPE": _cut_bpe,
    "Unigram": _cut_unigram,
}
