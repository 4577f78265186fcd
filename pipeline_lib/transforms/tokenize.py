"""Texts -> token ids and mask, with the tokenizer that a text tower was trained with.

A folder with tokenizer.json needs only the library `tokenizers`, which imports in milliseconds. `transformers` takes
seconds to import, and is used for hub names and for folders in an older format. CLIP's tokenizer is part of open_clip
and has the name `open_clip`.
"""

import functools
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from pipeline_lib.artifacts.messages import one_line
from pipeline_lib.artifacts.read import read_object
from pipeline_lib.transforms.cut_tokenizer import cut_tokenizer

TOKENIZER = "tokenizer.json"
SETTINGS = ("tokenizer_config.json", "special_tokens_map.json")
# Files with a vocabulary. Without one, transformers silently builds an empty tokenizer from config.json.
VOCABULARIES = (TOKENIZER, "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model")
# The name of CLIP's tokenizer, and the file that names it in a folder; its vocabulary is part of open_clip.
CLIP_NAME, CLIP_MARK = "open_clip", "open_clip_tokenizer.json"
SOLUTION = "point model.text.name at a folder with tokenizer.json"


class Backend(Protocol):
    """A tokenizer: token ids of truncated texts, the id of padding, and a copy in a folder."""

    pad_id: int
    num_special: int
    vocab_size: int

    def ids(self, texts: list[str], max_tokens: int) -> list[list[int]]:
        """Return the ids of each text, truncated to `max_tokens` with its special tokens."""

    def save(self, folder: Path) -> None:
        """Write the tokenizer's files."""


class TextTokenizer:
    """The tokenizer of a folder or a hub name; ValueError if there is none, or if it has no token for padding."""

    def __init__(self, name: str | Path) -> None:
        self._backend = _backend(name)

    @property
    def vocab_size(self) -> int:
        """The number of rows of an embedding of the tokenizer's ids."""
        return self._backend.vocab_size

    @property
    def pad_id(self) -> int:
        """The id of padding."""
        return self._backend.pad_id

    def encode_batch(self, texts: list[str], max_tokens: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """Return ids and mask (True for a token), both (batch, longest text of the batch), padded on the right.

        A text without tokens gets one pad token that is not masked, because the mean over no token would be NaN.
        """
        backend = self._backend
        if max_tokens <= backend.num_special:
            raise ValueError(
                f"model.text.max_tokens = {max_tokens} leaves no room for text beside this tokenizer's "
                f"{backend.num_special} special tokens; set {backend.num_special + 1} or more"
            )
        rows = [row or [backend.pad_id] for row in backend.ids(texts, max_tokens)]
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        mask = np.arange(lengths.max(initial=0)) < lengths[:, None]
        ids = np.full(mask.shape, backend.pad_id, dtype=np.int64)
        ids[mask] = np.concatenate(rows) if rows else []
        return ids, mask

    def cuts(self, text: str, max_tokens: int) -> bool:
        """Return whether `encode_batch` cuts off the end of a text."""
        return int(self.encode_batch([text], max_tokens + 1)[1].sum()) > max_tokens

    def save(self, folder: Path) -> None:
        """Write the tokenizer into `folder`; a TextTokenizer of this folder gives the same ids."""
        folder.mkdir(parents=True, exist_ok=True)
        self._backend.save(folder)

    def cut(self, texts: Iterable[str], also: Iterable[int] = ()) -> tuple["TextTokenizer", list[int]]:
        """Return a tokenizer with only the tokens that `texts` and new words need, and the old id of each new id.

        The ids `also` are always included; see `cut_tokenizer`. Raises ValueError if the tokenizer cannot be cut.
        """
        with TemporaryDirectory() as name:
            folder = Path(name)
            self.save(folder)
            if not (folder / TOKENIZER).is_file():
                raise ValueError(f"model.text_vocabulary = 'cut' needs a {TOKENIZER}, and there is none; {SOLUTION}")
            full = Tokenizer.from_file(str(folder / TOKENIZER))
            cut, old = cut_tokenizer(full, texts, {self._backend.pad_id, *also})
            cut.save(str(folder / TOKENIZER))
            _renumber_settings(folder / SETTINGS[0], old)
            return TextTokenizer(folder), old


def _backend(name: str | Path) -> Backend:
    folder = Path(name)
    if str(name) == CLIP_NAME or (folder / CLIP_MARK).is_file():
        return ClipBackend()
    return FileBackend(folder) if (folder / TOKENIZER).is_file() else HubBackend(str(name))


class FileBackend:
    """A tokenizer.json, with the pad token of tokenizer_config.json."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Read now and not when the tokenizer is saved: by then the folder may have changed.
        names = (name for name in (TOKENIZER, *SETTINGS) if (folder / name).is_file())
        self._files = {name: (folder / name).read_bytes() for name in names}
        try:
            self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        except Exception as error:  # the library raises bare Exceptions
            raise ValueError(f"{folder / TOKENIZER}: not a tokenizer ({one_line(error, 300)})") from error
        self.pad_id = self._find_pad_id()
        self._tokenizer.no_padding()
        self.vocab_size = self._tokenizer.get_vocab_size()
        self.num_special = self._tokenizer.num_special_tokens_to_add(False)

    def ids(self, texts: list[str], max_tokens: int) -> list[list[int]]:
        """Return the ids of each text, truncated to `max_tokens` with its special tokens."""
        # An explicit direction, because the file may have left truncation, which drops the start of a text.
        self._tokenizer.enable_truncation(max_tokens, direction="right")
        with _encoding(self._folder / TOKENIZER):
            return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(texts)]

    def save(self, folder: Path) -> None:
        """Write the files unchanged."""
        for name, content in self._files.items():
            (folder / name).write_bytes(content)

    def _find_pad_id(self) -> int:
        settings: dict[str, Any] = {}
        for name in reversed(SETTINGS):
            settings |= _read_settings(self._folder / name)
        padding = self._tokenizer.padding or {}
        for token in (settings.get("pad_token"), padding.get("pad_token"), settings.get("eos_token")):
            content = token.get("content") if isinstance(token, dict) else token
            number = self._tokenizer.token_to_id(content) if isinstance(content, str) else None
            if number is not None:
                return int(number)
        raise ValueError(
            f"{self._folder}: the tokenizer has neither a pad_token nor an eos_token; set one of its tokens in "
            f"{self._folder / SETTINGS[0]}"
        )


class HubBackend:
    """Any tokenizer that transformers.AutoTokenizer loads."""

    def __init__(self, name: str) -> None:
        folder, self._name = Path(name), name
        if folder.is_dir() and not any((folder / file).is_file() for file in VOCABULARIES):
            raise ValueError(f"{folder}: no tokenizer here (none of {', '.join(VOCABULARIES)}); {SOLUTION}")
        from transformers import AutoTokenizer  # slow import

        try:
            self._tokenizer: Any = AutoTokenizer.from_pretrained(name)
            pad_id = self._tokenizer.pad_token_id
            pad_id = self._tokenizer.eos_token_id if pad_id is None else pad_id
            self.vocab_size = len(self._tokenizer)
            self.num_special = int(self._tokenizer.num_special_tokens_to_add())
        except Exception as error:  # each file and each kind of tokenizer raises its own types
            fault = "its tokenizer cannot be read" if folder.is_dir() else "no tokenizer here nor on the hub"
            raise ValueError(f"{name}: {fault} ({one_line(error, 300)}); {SOLUTION}") from error
        if pad_id is None:
            raise ValueError(f"{name}: the tokenizer has neither a pad_token nor an eos_token; {SOLUTION}")
        self.pad_id = int(pad_id)

    def ids(self, texts: list[str], max_tokens: int) -> list[list[int]]:
        """Return the ids of each text, truncated to `max_tokens` with its special tokens."""
        self._tokenizer.truncation_side = "right"
        with _encoding(self._name):
            rows: list[list[int]] = self._tokenizer(texts, truncation=True, max_length=max_tokens)["input_ids"]
        return rows

    def save(self, folder: Path) -> None:
        """Write it in the format that does not need transformers."""
        self._tokenizer.save_pretrained(folder)


class ClipBackend:
    """CLIP's byte-pair tokenizer (49,408 tokens) of open_clip: the text between a start and an end token.

    Truncation drops the last tokens of a text, but not the end token, where CLIP's text tower is pooled.
    """

    pad_id = 0
    num_special = 2

    def __init__(self) -> None:
        self._tokenizer = _clip_tokenizer()
        self.vocab_size = int(self._tokenizer.vocab_size)

    def ids(self, texts: list[str], max_tokens: int) -> list[list[int]]:
        """Return the ids of each text, truncated to `max_tokens` with its special tokens."""
        start, end = self._tokenizer.sot_token_id, self._tokenizer.eot_token_id
        return [[start, *self._tokenizer.encode(text)[: max_tokens - 2], end] for text in texts]

    def save(self, folder: Path) -> None:
        """Write a file with the name and the size of the tokenizer."""
        value = {"tokenizer": CLIP_NAME, "vocab_size": self.vocab_size}
        (folder / CLIP_MARK).write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


@functools.cache
def _clip_tokenizer() -> Any:
    """Return open_clip's tokenizer; a process reads its file of merges, which takes 0.08 s, once for all towers."""
    from open_clip.tokenizer import SimpleTokenizer  # slow import

    return SimpleTokenizer()


@contextmanager
def _encoding(name: str | Path) -> Iterator[None]:
    """Turn what a tokenizer raises for a text into one ValueError with its name, say of no unknown token."""
    try:
        yield
    except Exception as error:  # the libraries raise bare Exceptions
        raise ValueError(f"{name}: cannot tokenize a text ({one_line(error, 300)}); {SOLUTION}") from error


def _renumber_settings(path: Path, old: list[int]) -> None:
    """Set the new ids of the added tokens in tokenizer_config.json, which transformers reads."""
    settings = _read_settings(path)
    if decoder := settings.get("added_tokens_decoder"):
        rows = {str(number): str(row) for row, number in enumerate(old)}
        settings["added_tokens_decoder"] = {rows[key]: value for key, value in decoder.items() if key in rows}
        path.write_text(json.dumps(settings, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _read_settings(path: Path) -> dict[str, Any]:
    return read_object(path) if path.is_file() else {}
