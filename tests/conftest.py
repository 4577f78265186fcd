"""Small real towers in the real formats, made on the spot: a timm folder, a BERT folder, a tokenizer; and an S3."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault(
    "OMP_WAIT_POLICY", "passive"
)  # tests run beside each other; see pipeline_lib/execution/threads.py

# A machine that does other work at the same time is not a failing test.
settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")

WORDS = ["red", "blue", "green", "mug", "hat", "lamp", "striped", "plain", "红", "蓝", "杯", "帽"]


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


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """A local S3 server in a process of its own; its address."""
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
    """Puts a folder into a bucket of that server, which this test's s3:// speaks to; returns the URL."""
    import s3fs

    told = {"ENDPOINT_URL": s3_server, "ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "DEFAULT_REGION": "us-east-1"}
    for name, value in told.items():
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
    """Makes a real repository of three states: tag `first-run`, experiment `tried`, and the working tree.

    Its one stage is told by dvc.yaml's text; `write(root, state)` writes its outs for state 0, 1 and 2.
    """

    def make(pipeline: str, write: Callable[[Path, int], None]) -> Path:
        root = tmp_path_factory.mktemp("project")

        def run(*command: str) -> None:
            subprocess.run(command, cwd=root, check=True, capture_output=True)

        run("git", "init", "-q")
        run("git", "config", "user.email", "test@example.org")
        run("git", "config", "user.name", "Test")
        run("dvc", "init", "-q")
        run("dvc", "config", "core.analytics", "false")
        (root / "dvc.yaml").write_text(pipeline, encoding="utf-8")
        write(root, 0)
        run("dvc", "commit", "-q", "-f")
        run("git", "add", "-A")
        run("git", "commit", "-qm", "first")
        run("git", "tag", "first-run")
        write(root, 1)
        run("dvc", "exp", "save", "-q", "--force", "-n", "tried")
        write(root, 2)
        return root

    return make
