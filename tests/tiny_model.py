"""tools/make_tiny_model without a process of its own: importing numpy takes longer than making most models."""
import contextlib
import importlib.machinery
import importlib.util
import os
import sys
from unittest import mock

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tools", "make_tiny_model")


def _load():
    loader = importlib.machinery.SourceFileLoader("make_tiny_model", SCRIPT)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    with mock.patch.object(sys, "dont_write_bytecode", True):
        loader.exec_module(module)
    return module


_MODULE = _load()


def make_tiny_model(out, **options):
    """make_tiny_model(path, arch="llama", kv_heads=2) is tools/make_tiny_model --out path --arch=llama --kv-heads=2."""
    words = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    with mock.patch.object(sys, "argv", [SCRIPT, "--out", str(out), *words]), contextlib.redirect_stdout(sys.stderr):
        _MODULE.main()
    return out
