"""How many texts are longer than what a tower reads of them; a tokenizer cuts off their end without a word."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
# Texts whose tokens are counted, each up to this number of tokens, some at a time.
NUM_COUNTED, LONGEST, NUM_TEXTS = 500, 4096, 32
# Share of cut texts from which on a line says so, and share of the texts that the length in it is enough for.
CUT_SHARE, MOST = 0.01, 0.95


def cut_texts(
    tokenize: Callable[[list[str], int], tuple[IntArray, BoolArray]],
    texts: Sequence[str],
    max_tokens: int,
    what: str = "training texts",
    setting: str = "model.text.max_tokens",
) -> list[str]:
    """Return a line if at least CUT_SHARE of the texts have more tokens than `max_tokens`, so that their end is lost.

    `what` names the texts, `setting` the number of tokens. Of many texts, NUM_COUNTED evenly chosen ones are looked at.
    """
    chosen = texts[:: math.ceil(len(texts) / NUM_COUNTED) or 1]
    blocks = (list(chosen[start : start + NUM_TEXTS]) for start in range(0, len(chosen), NUM_TEXTS))
    lengths = [length for block in blocks for length in tokenize(block, max(LONGEST, max_tokens + 1))[1].sum(axis=1)]
    share = float(np.mean([length > max_tokens for length in lengths])) if lengths else 0.0
    if share < CUT_SHARE:
        return []
    most = math.ceil(np.quantile(lengths, MOST))
    lengths_found = f"{MOST:.0%} of them have at most {most:,} tokens, if the tower has positions for so many"
    if most >= LONGEST:
        lengths_found = f"the longest have {LONGEST:,} tokens or more"
    return [f"text: {setting} = {max_tokens} cuts off the end of {share:.0%} of the {what}; {lengths_found}"]
