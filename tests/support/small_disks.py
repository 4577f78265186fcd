"""Runs stages whose outs are on disks that are too small; no other process sees these disks."""

import ctypes
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000


def main() -> None:
    """The argument is JSON: {"MODULE ARGUMENTS": [folder, kB]}; prints how each stage ended to stderr."""
    _unshare_mounts()
    for command, (folder, size) in json.loads(sys.argv[1]).items():
        module, *sys.argv[1:] = command.split()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", folder], check=True)
        try:
            importlib.import_module(module).main()
        except SystemExit as error:
            print(f"ended {command} with {error.code}", file=sys.stderr)
        subprocess.run(["umount", "--lazy", folder], check=True)


def _unshare_mounts() -> None:
    """Move this process to a namespace of mounts as `unshare --mount` does, a user who is not root as its root."""
    user, group = os.geteuid(), os.getegid()
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS | (CLONE_NEWUSER if user else 0)):
        raise OSError(ctypes.get_errno(), "unshare")
    if user:
        for name, text in {"setgroups": "deny", "uid_map": f"0 {user} 1", "gid_map": f"0 {group} 1"}.items():
            Path("/proc/self", name).write_text(text, encoding="ascii")
    subprocess.run(["mount", "--make-rprivate", "/"], check=True)
