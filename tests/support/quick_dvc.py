"""Runs `dvc` commands in forks of a process that has imported DVC: a new process needs half a second of CPU for that.

Only the imports, the parser of the command line and the texts of YAML files that a command reads again are saved; the
fork runs DVC's own `main` in its own folder, environment and streams. What a test kills is a real command instead.
"""

import atexit
import functools
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from forked import run_in_fork, wait_for_server

from pipeline_lib.execution import forks

ROOT = Path(__file__).parents[2]
LIBRARIES = (
    "dvc.cli.parser", "dvc.repo.reproduce", "dvc.repo.experiments.run", "dvc.repo.experiments.executor.local",
    "dvc.repo.experiments.save", "dvc.repo.experiments.show", "dvc.repo.checkout", "dvc.repo.commit", "dvc.repo.status",
    "dvc.repo.stage", "dvc.repo.index", "dvc.stage.run", "dvc.stage.cache", "dvc.dependency.param", "dvc.parsing",
    "dvc.utils.strictyaml", "dvc.dvcfile", "dvc.cachemgr", "dvc.rwlock", "dvc.lock", "dvc.info",
    "scmrepo.git", "dulwich.porcelain", "pygit2", "dpath", "networkx", "pygtrie", "voluptuous", "ruamel.yaml",
)  # fmt: skip


@functools.cache
def _server() -> Path:
    """Start the server of this test process and return its address; it ends with this process."""
    folder = Path(tempfile.mkdtemp(prefix="dvc-"))
    address = folder / "socket"
    server = subprocess.Popen([sys.executable, __file__, str(address), str(os.getpid())], cwd=ROOT)

    def end() -> None:
        server.terminate()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)

    atexit.register(end)
    wait_for_server(server, address)
    return address


def run_dvc(
    folder: Path, *arguments: str, environment: dict[str, str] | None = None, check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run `dvc` with these arguments in a folder; stages find this Python first on the path."""
    environment = {**(os.environ if environment is None else environment)}
    parent = str(Path(sys.executable).parent)
    if not environment.get("PATH", "").startswith(parent):
        environment["PATH"] = f"{parent}{os.pathsep}{environment.get('PATH', '')}"
    search = [str(Path(__file__).parent), str(ROOT)]
    return run_in_fork(_server(), "quick_dvc", ("dvc", *arguments), folder, environment, search, check=check)


def main() -> None:
    """Run DVC's command line as the program `dvc` does."""
    from dvc.cli import main as dvc
    from dvc.utils import strictyaml
    from dvc.utils.serialize import _yaml

    strictyaml.parse_yaml = _yaml.parse_yaml = _parsed_once(_yaml.parse_yaml)
    sys.exit(dvc(sys.argv[1:]))


def _parsed_once(parse):
    """Return DVC's parser of YAML, which parses equal texts once: for each stage DVC reads params.yaml again."""
    found: dict[str, bytes] = {}

    def parse_once(text, path, typ="safe"):
        if typ != "safe":
            return parse(text, path, typ)
        if text not in found:
            found[text] = pickle.dumps(parse(text, path))
        return pickle.loads(found[text])  # the caller may change it

    return parse_once


def _serve() -> None:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    forks.LIBRARIES = LIBRARIES
    from dvc.cli.parser import get_main_parser

    get_main_parser()
    forks.serve(Path(sys.argv[1]), int(sys.argv[2]))


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    _serve()
