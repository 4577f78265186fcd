"""The project speaks the field's language: home-made words are found in no file but this one and the change log.

Each pattern stands with what to write instead. A name counts as the words that its underscores part.
"""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
EXEMPT = {"CHANGELOG.md", "LICENSE", "tests/architecture/test_words.py"}
INSTEAD = {
    "told": "given, reported, messages, probabilities: whichever it is",
    "said": "printed, reported, message",
    # In quotes or backticks it is a value of rejects.parquet's column `action`.
    '(?<!["`])kept(?!["`])': "stored, saved, external; `keep` stays a verb",
    "dealt|dealing": "assigned, split",
    "taught": "trained with a teacher, distilled",
    "lessons?": "teachers, distillation",
    "voices?": "teacher slices",
    "fed|feeding": "loaded, given",
    "begun": "started, resumed",
    "hangs on": "depends on",
    # The column `price` of a shop is data.
    r"priced|price\(": "loss, compute_losses",
    "strangers?": "negatives",
    "tellers?": "probability source",
    "not told apart": "no significant difference",
    "surest": "most confident",
    "runs? whole": "runs from its input",
    "(plan|plan_) ?table": "trainable report",
    "who shrinks": "resizing",
    "goes on behind": "resumes after",
    "settle nothing|see nothing\\.": "a no-op, in a sentence",
}
PATTERN = re.compile(rf"(?<![a-z])(?:{'|'.join(INSTEAD)})(?![a-z])", re.IGNORECASE)


def texts() -> list[str]:
    found = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    binary = {".png", ".jpg", ".webp"}
    return [name for name in found.split("\0") if name and name not in EXEMPT and Path(name).suffix not in binary]


def test_no_home_made_word():
    found = []
    for path in [ROOT / name for name in texts()]:
        if path.is_file():  # otherwise it was moved, and not yet committed
            text = path.read_text(encoding="utf-8")
            # Most files have none: their lines are not looked at one by one.
            lines = text.split("\n") if PATTERN.search(text) else []
            wrong = [(number, line) for number, line in enumerate(lines, 1) if PATTERN.search(line)]
            found += [f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}" for number, line in wrong]
    assert not found, "\n".join(found)


def test_the_pattern_finds_words_in_names_and_sentences():
    for text in ("was told", "kept_rows", "KEPT", "what hangs on it", "plan_table", "Lesson"):
        assert PATTERN.search(text), text
    for text in ("retold", "keeps", "feed", "taughter", "hang on"):
        assert not PATTERN.search(text), text
