"""Cuts a tokenizer.json (WordPiece, BPE, Unigram or WordLevel) to the tokens that some texts use, with new ids.

The file itself is rewritten. With a map of ids beside it, a new word could only become unknown; with a cut file it is
split into the remaining pieces, by every library that reads the file. The tokens of the given texts do not change:
WordPiece takes the longest piece, BPE has every merge that leads to a needed token, and the best path of Unigram loses
only competitors. Unigram also needs its token of the lowest score, on which the score of the unknown token depends.
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
    """Return the tokenizer with only the tokens it needs, and the old id of each new id, ascending.

    It needs the tokens of `texts` at any length, added and special tokens, the ids `also`, and single letters, so that
    a new word is split into letters. A Han character is a word, not a letter: if no text has it, it becomes unknown.
    Raises ValueError for a type of model that cannot be cut.
    """
    spec: Spec = json.loads(tokenizer.to_str())
    kind = spec["model"].get("type")
    if kind not in CUTS:
        raise ValueError(
            f"a tokenizer of type {kind!r} cannot be cut ({', '.join(CUTS)} can); set model.text_vocabulary = full"
        )
    vocabulary: dict[str, int] = tokenizer.get_vocab(with_added_tokens=True)
    needed = _needed(tokenizer, spec, vocabulary, texts) | (set(also) & set(vocabulary.values()))
    ids = CUTS[kind](spec["model"], needed)
    # Added tokens may be outside the model's vocabulary.
    old = sorted(ids | {added["id"] for added in spec["added_tokens"]})
    numbers = {number: row for row, number in enumerate(old)}
    _renumber(spec, numbers)
    return _checked(Tokenizer.from_str(json.dumps(spec)), vocabulary, numbers), old


def _needed(tokenizer: Tokenizer, spec: Spec, vocabulary: dict[str, int], texts: Iterable[str]) -> set[int]:
    model = spec["model"]
    tokenizer.no_truncation()
    # The empty text and the empty pair have the special tokens that are put around any text.
    encodings = [*tokenizer.encode_batch_fast(list(texts)), tokenizer.encode(""), tokenizer.encode("", "")]
    needed = {number for encoding in encodings for number in encoding.ids}
    needed |= {added["id"] for added in spec["added_tokens"]}
    if spec["padding"]:
        needed.add(spec["padding"]["pad_id"])
    if model.get("unk_token") in vocabulary:
        needed.add(vocabulary[model["unk_token"]])
    before = (model.get("continuing_subword_prefix") or "", SPACE)
    after = model.get("end_of_word_suffix") or ""
    return needed | {number for token, number in vocabulary.items() if _is_letter(token, before, after)}


def _is_letter(token: str, before: tuple[str, str], after: str) -> bool:
    """Return whether a token is one letter (inside, at the start or end of a word) or a byte of the byte fallback."""
    bare = token.removesuffix(after)
    for mark in before:
        bare = bare.removeprefix(mark)
    return BYTE.fullmatch(token) is not None or (len(bare or token) == 1 and not IS_HAN.match(bare))


def _cut_words(model: Spec, needed: set[int]) -> set[int]:
    """Cut WordPiece and WordLevel, which only have a vocabulary."""
    model["vocab"] = {token: number for token, number in model["vocab"].items() if number in needed}
    return set(model["vocab"].values())


def _cut_bpe(model: Spec, needed: set[int]) -> set[int]:
    """Keep the merges that lead to each needed token, and the tokens of these merges, down to single letters."""
    vocabulary: dict[str, int] = model["vocab"]
    inside = len(model["continuing_subword_prefix"] or "")
    merges_of: dict[str, list[tuple[str, str]]] = {}
    for left, right in model["merges"]:
        merges_of.setdefault(left + right[inside:], []).append((left, right))
    tokens: set[str] = set()
    stack = [token for token, number in vocabulary.items() if number in needed]
    while stack:
        token = stack.pop()
        if token not in tokens:
            tokens.add(token)
            stack += [part for pair in merges_of.get(token, ()) for part in pair]
    model["vocab"] = {token: number for token, number in vocabulary.items() if token in tokens}
    model["merges"] = [pair for pair in model["merges"] if pair[0] + pair[1][inside:] in tokens]
    return set(model["vocab"].values())


def _cut_unigram(model: Spec, needed: set[int]) -> set[int]:
    """Keep the needed tokens, the unknown token and the token of the lowest score."""
    scores = [score for _, score in model["vocab"]]
    needed = needed | {scores.index(min(scores))}
    if model["unk_id"] is not None:
        needed.add(model["unk_id"])
    old = [number for number in range(len(scores)) if number in needed]
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
    """Set the new ids of the special tokens that a post-processor puts around a text."""
    for inner in processor.get("processors", ()):
        _renumber_processor(inner, numbers)
    for end in ("sep", "cls"):
        if end in processor:
            token, number = processor[end]
            processor[end] = [token, numbers[number]]
    # A byte-level processor has no special tokens.
    for special in processor.get("special_tokens", {}).values():
        special["ids"] = [numbers[number] for number in special["ids"]]


def _checked(tokenizer: Tokenizer, vocabulary: dict[str, int], numbers: Numbers) -> Tokenizer:
    """Return the tokenizer if every token has its new id; libraries number added tokens by their own rules."""
    wrong = [
        token for token, old in vocabulary.items() if old in numbers and tokenizer.token_to_id(token) != numbers[old]
    ]
    if wrong:
        raise ValueError(
            f"the tokenizer's token {wrong[0]!r} (id {vocabulary[wrong[0]]}) cannot be in a cut vocabulary; set "
            "model.text_vocabulary = full"
        )
    return tokenizer


# type of model -> function(model of a tokenizer.json, needed ids), which cuts the model and returns its remaining ids
CUTS: dict[str, Callable[[Spec, set[int]], set[int]]] = {
    "WordPiece": _cut_words,
    "WordLevel": _cut_words,
    "BPE": _cut_bpe,
    "Unigram": _cut_unigram,
}
