"""Shared fixtures: small towers in real formats, a built project, a repository of three states, and an S3 server."""

import contextlib
import fcntl
import gc
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from chromium import MISSING
from hypothesis import settings

if TYPE_CHECKING:
    from small_shop import Project

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Without it, each DVC command in a new repository starts one more process.
os.environ["DVC_NO_ANALYTICS"] = "1"
# Several test processes share the cores; see pipeline_lib/execution/threads.py.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Where it is off, each process compiles the package and rewrites the asserts anew: 9 s of CPU before the first test.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A busy machine must not fail a test.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")

# Files and folders whose tests take longest, in the order of their start, so that no process works alone at the end.
# The first file builds the project that others copy; meanwhile the other process has files that do not need it.
FIRST = (
    "tests/pipeline/test_dvc_runs", "tests/training/test_launched_stage", "tests/training/test_features_stage",
    "tests/pipeline", "tests/experiments/recipes/test_every_recipe_trains", "tests/execution", "tests/training",
)  # fmt: skip

WORDS = ["red", "blue", "green", "mug", "hat", "lamp", "striped", "plain", "红", "蓝", "杯", "帽"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files of FIRST first."""

    def place(item: pytest.Item) -> int:
        return next((number for number, name in enumerate(FIRST) if item.nodeid.startswith(name)), len(FIRST))

    items.sort(key=place)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Collect no garbage while tests are collected: imports would start that 690 times, for 1.2 s of CPU."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the files that were not run for want of a browser: a skip is one letter among thousands of dots."""
    skipped = terminalreporter.stats.get("skipped", [])
    files = sorted({one.nodeid.partition("::")[0] for one in skipped if MISSING in str(one.longrepr)})
    if files:
        line = f"NOT RUN, {MISSING} (apt-get install chromium): {', '.join(files)}"
        terminalreporter.write_line(line, red=True, bold=True)


@pytest.fixture(scope="session")
def tiny_image_folder(tmp_path_factory) -> Path:
    import timm
    import torch
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("image-tower")
    arguments = {"depths": [1, 1, 2, 1], "dims": [8, 12, 16, 24]}
    torch.manual_seed(0)
    tower = timm.create_model("convnext_atto", pretrained=False, num_classes=0, **arguments)
    save_file(tower.state_dict(), folder / "model.safetensors")
    config = {"architecture": "convnext_atto", "model_args": arguments, "mean": [0.5] * 3, "std": [0.25] * 3}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def tiny_text_folder(tmp_path_factory) -> Path:
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    folder = tmp_path_factory.mktemp("text-tower")
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "BertTokenizerFast", "pad_token": "[PAD]", "model_max_length": 32}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=32,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    return folder


@pytest.fixture
def other_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process believe that it runs on a machine whose names are looked for in artefacts."""
    from other_machine import pretend

    pretend(monkeypatch)


@pytest.fixture(scope="session")
def built_project(tmp_path_factory, tiny_image_folder, tiny_text_folder) -> "Project":
    """The small shop's project after one `dvc repro`; all test processes share it, so a test changes only a copy."""
    from small_shop import Project

    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    project, finished = Project(root / "built-project"), root / "built-project.finished"
    with (root / "built-project.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not finished.exists():
            assert not project.folder.exists(), "the project could not be built; the first error is in another test"
            Project.create(project.folder, tiny_image_folder, tiny_text_folder).build()
            finished.touch()
    return project


@pytest.fixture(scope="session")
def fork_server(tmp_path_factory) -> Iterator[Path]:
    """Start a fork server for all commands of this test process and yield its address."""
    from forked import wait_for_server

    address = tmp_path_factory.mktemp("server") / "socket"
    command = [sys.executable, "-m", "pipeline_lib.execution.forkserver", str(address), str(os.getpid())]
    server = subprocess.Popen(command, cwd=Path(__file__).parents[1])
    try:
        wait_for_server(server, address)
        yield address
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Start a local S3 server in its own process and yield its URL."""
    pytest.importorskip("moto", reason="pip install 'vitrine[test]'")
    pytest.importorskip("s3fs", reason="pip install 'vitrine[test]'")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        end = time.monotonic() + 60
        while True:
            assert server.poll() is None and time.monotonic() < end
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def s3(s3_server, monkeypatch) -> Callable[[Path], str]:
    """Return a function that copies a folder to a new bucket of the server and returns its s3:// URL."""
    import s3fs

    keys = {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b"}
    for name, value in {"ENDPOINT_URL": s3_server, "DEFAULT_REGION": "us-east-1", **keys}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    s3fs.S3FileSystem.clear_instance_cache()

    def put(folder: Path) -> str:
        url = f"s3://bucket-{uuid.uuid4().hex}/{folder.name}"
        system = s3fs.S3FileSystem()
        system.mkdir(url.rpartition("/")[0])
        system.put(str(folder), url, recursive=True)
        return url

    return put


@pytest.fixture(scope="session")
def three_states(tmp_path_factory) -> Callable[[str, Callable[[Path, int], None]], Path]:
    """Return a function that creates a repository of three states: tag `first-run`, experiment `tried`, working tree.

    `pipeline` is the text of dvc.yaml with one stage, and `write(root, state)` writes its outs for state 0, 1 and 2.
    """

    from quick_dvc import run_dvc

    def create(pipeline: str, write: Callable[[Path, int], None]) -> Path:
        root = tmp_path_factory.mktemp("project")

        def git(*arguments: str) -> None:
            subprocess.run(["git", *arguments], cwd=root, check=True, capture_output=True)

        git("init", "-q")
        run_dvc(root, "init", "-q")
        (root / ".dvc/config").write_text("[core]\n    analytics = false\n", encoding="utf-8")
        with (root / ".git/config").open("a", encoding="utf-8") as stream:
            stream.write("[user]\n    email = test@example.org\n    name = Test\n")
        (root / "dvc.yaml").write_text(pipeline, encoding="utf-8")
        write(root, 0)
        run_dvc(root, "commit", "-q", "-f")
        git("add", "-A")
        git("commit", "-qm", "first")
        git("tag", "first-run")
        write(root, 1)
        run_dvc(root, "exp", "save", "-q", "--force", "-n", "tried")
        write(root, 2)
        return root

    return create
