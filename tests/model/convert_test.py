"""kinglet convert and inspect as a user runs them: tiny models of all architectures, and SmolLM2 where it is there."""
import contextlib
import json
import os
import resource
import signal
import struct
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

import numpy as np
from safetensors import safe_open

from tiny_model import make_tiny_model

KINGLET = os.environ["KINGLET"]
ARCHITECTURES = ("llama", "qwen2", "qwen3", "gemma2", "gemma3", "bert")


def kinglet(*arguments, code=0, **options):
    done = subprocess.run([KINGLET, *map(str, arguments)], capture_output=True, text=True, timeout=600, **options)
    if done.returncode != code:
        raise AssertionError(f"kinglet {' '.join(map(str, arguments))} ended with {done.returncode}, expected {code}\n"
                             f"{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done


def inspect(path):
    return json.loads(kinglet("inspect", path, "--json").stdout)


def tiny(out, **options):
    return make_tiny_model(out, **options)


def gguf_tensors(path):
    """Name -> bytes, by the directory that inspect gives; the data of a written file stands in that order."""
    tensors = inspect(path)["tensors"]
    data = Path(path).read_bytes()
    padded = sum(-(-t["bytes"] // 32) * 32 for t in tensors)
    at, result = len(data) - padded, {}
    for tensor in tensors:
        result[tensor["name"]] = data[at:at + tensor["bytes"]]
        at += -(-tensor["bytes"] // 32) * 32
    return result


def hf_tensors(path):
    """Name -> values in f32."""
    data = Path(path).read_bytes()
    start = 8 + struct.unpack("<Q", data[:8])[0]
    result = {}
    for name, entry in json.loads(data[8:start]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        raw = data[start + begin:start + end]
        if entry["dtype"] == "BF16":
            values = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(raw, {"F32": "<f4", "F16": "<f2"}[entry["dtype"]]).astype(np.float32)
        result[name] = values.reshape(entry["shape"])
    return result


def smollm2():
    places = [os.environ.get("KINGLET_TEST_MODELS"), os.environ.get("KINGLET_HOME"),
              os.path.join(os.environ.get("XDG_DATA_HOME", os.path.expanduser("~/.local/share")), "kinglet")]
    for place in filter(None, places):
        for name in ("smollm2-135m-instruct.gguf", "models/smollm2-135m-instruct.gguf"):
            if os.path.isfile(os.path.join(place, name)):
                return os.path.join(place, name)
    return None


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="kinglet-convert-")
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def assert_only(self, *names):
        self.assertEqual(sorted(os.listdir(self.folder)), sorted(names))


class TinyModels(Case):
    def test_a_folder_and_a_gguf_of_the_same_model_hold_the_same_tensors(self):
        for arch in ARCHITECTURES:
            with self.subTest(arch):
                hf = tiny(self.folder / f"{arch}-hf", arch=arch, format="hf", type="f32")
                gguf = tiny(self.folder / f"{arch}.gguf", arch=arch, format="gguf", type="f32")
                out = self.folder / f"{arch}-converted.gguf"
                report = json.loads(kinglet("convert", hf, "-o", out, "--json").stdout)
                self.assertTrue(report["lossless"])
                self.assertEqual(report["bytes"], out.stat().st_size)
                self.assertEqual(gguf_tensors(out), gguf_tensors(gguf))
                a, b = inspect(out)["metadata"], inspect(gguf)["metadata"]
                for key in b:
                    if key.startswith(arch + ".") and key in a:
                        self.assertEqual(a[key], b[key], key)
                for key in ("block_count", "embedding_length", "attention.head_count", "feed_forward_length"):
                    self.assertIn(f"{arch}.{key}", a)
                for key in ("tokenizer.ggml.model", "tokenizer.ggml.tokens", "tokenizer.ggml.token_type"):
                    self.assertEqual(a[key], b[key], key)
                if "tokenizer.ggml.merges" in b:
                    self.assertEqual(a["tokenizer.ggml.merges"], b["tokenizer.ggml.merges"])

    def test_to_gguf_and_back_gives_the_same_folder(self):
        for arch in ARCHITECTURES:
            with self.subTest(arch):
                hf = tiny(self.folder / f"{arch}-hf", arch=arch, format="hf", type="bf16", shards=2)
                middle, back = self.folder / f"{arch}.gguf", self.folder / f"{arch}-back"
                kinglet("convert", hf, "-o", middle)
                kinglet("convert", middle, "--format", "safetensors", "-o", back)
                original = {}
                for shard in sorted(hf.glob("*.safetensors")):
                    original |= hf_tensors(shard)
                written = hf_tensors(back / "model.safetensors")
                self.assertEqual(set(written), set(original))
                for name, values in original.items():
                    np.testing.assert_array_equal(written[name], values, err_msg=name)
                with safe_open(back / "model.safetensors", "numpy") as file:  # the format's own reader
                    self.assertEqual(set(file.keys()), set(original))
                for name in ("tokenizer.json", "tokenizer_config.json"):
                    self.assertEqual((back / name).read_text(), (hf / name).read_text())
                a, b = (json.loads((f / "config.json").read_text()) for f in (hf, back))
                self.assertEqual(a | {"torch_dtype": 0}, b | {"torch_dtype": 0})

    def test_a_gguf_without_its_configuration_makes_one_that_opens_equal(self):
        for arch in ARCHITECTURES:
            with self.subTest(arch):
                gguf = tiny(self.folder / f"{arch}.gguf", arch=arch, format="gguf", type="f16")
                folder, again = self.folder / f"{arch}-hf", self.folder / f"{arch}-again.gguf"
                done = kinglet("convert", gguf, "--format", "safetensors", "-o", folder)
                self.assertIn("tokenizer.json", done.stderr)  # cannot be carried: says so
                kinglet("convert", folder, "--type", "f16", "-o", again)
                self.assertEqual(gguf_tensors(again), gguf_tensors(gguf))
                a, b = inspect(gguf)["metadata"], inspect(again)["metadata"]
                for key in a:
                    if key.startswith(arch + ".") and not key.endswith("rope.dimension_count"):
                        self.assertEqual(a[key], b.get(key), key)

    def test_split_files_become_one(self):
        tiny(self.folder / "m.gguf", arch="qwen3", type="q8_0", shards=3)
        whole = tiny(self.folder / "whole.gguf", arch="qwen3", type="q8_0")
        out = self.folder / "out.gguf"
        kinglet("convert", self.folder / "m-00001-of-00003.gguf", "-o", out)
        self.assertEqual(out.read_bytes(), whole.read_bytes())

    def test_every_type_is_written_and_counted(self):
        source = tiny(self.folder / "m.gguf", arch="llama", type="f32", width=256)
        for kind in ("f16", "bf16", "q4_0", "q4_1", "q5_0", "q5_1", "q8_0", "q2_k", "q3_k", "q4_k", "q5_k", "q6_k",
                     "iq4_nl", "iq4_xs"):
            with self.subTest(kind):
                out = self.folder / f"{kind}.gguf"
                report = json.loads(kinglet("convert", source, "--type", kind, "-o", out, "--json").stdout)
                info = inspect(out)
                self.assertEqual(info["bits_per_weight"], report["bits_per_weight"])
                self.assertEqual(info["parameters"], inspect(source)["parameters"])
                types = {t["name"]: t["type"] for t in info["tensors"]}
                self.assertEqual(types["blk.0.attn_q.weight"], kind.upper())
                self.assertEqual(types["blk.0.attn_norm.weight"], "F32")
                bits = 8 * sum(t["bytes"] for t in info["tensors"]) / info["parameters"]
                self.assertAlmostEqual(info["bits_per_weight"], bits, places=9)
                self.assertLess(info["layer_bits_per_weight"], 17)

    def test_inspect_for_people(self):
        path = tiny(self.folder / "m.gguf", arch="gemma3", type="q4_0")
        text = kinglet("inspect", path, "--tensors").stdout
        for part in ("gemma3", "Q4_0", "blk.1.ffn_down.weight", "bits per weight", "tokenizer.ggml.tokens"):
            self.assertIn(part, text)

    def test_exit_codes_of_bad_files(self):
        good = tiny(self.folder / "m.gguf", arch="llama")
        cases = {"empty": b"", "cut": good.read_bytes()[:1000], "zip": b"PK\x03\x04" + bytes(100),
                 "escape": b"\x1b[31m" + bytes(100), "version": b"GGUF" + struct.pack("<IQQ", 1, 0, 0) + bytes(8)}
        for name, content in cases.items():
            with self.subTest(name):
                path = self.folder / f"{name}.gguf"
                path.write_bytes(content)
                done = kinglet("inspect", path, code=4)
                self.assertEqual(done.stdout, "")
                self.assertIn("hint:", done.stderr)
                self.assertNotIn("\x1b", done.stderr)
                kinglet("convert", path, "-o", self.folder / "out.gguf", code=4)
                self.assertFalse((self.folder / "out.gguf").exists())
        kinglet("inspect", self.folder / "absent.gguf", code=3)
        kinglet("convert", good, "-o", self.folder / "x.gguf", "--type", "q9", code=2)
        kinglet("convert", good, code=2)

    def test_a_full_disk_leaves_nothing(self):
        source = tiny(self.folder / "m.gguf", arch="llama", type="f32", width=256)

        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

        done = kinglet("convert", source, "-o", self.folder / "out.gguf", code=5, preexec_fn=limit)
        self.assertIn("out.gguf", done.stderr)
        kinglet("convert", source, "--format", "safetensors", "-o", self.folder / "out", code=5, preexec_fn=limit)
        self.assert_only("m.gguf")

    def test_a_folder_that_is_not_empty_stays_as_it_is(self):
        source = tiny(self.folder / "m.gguf", arch="llama")
        (self.folder / "out").mkdir()
        (self.folder / "out" / "mine").write_text("kept")
        kinglet("convert", source, "--format", "safetensors", "-o", self.folder / "out", code=2)
        self.assertEqual(os.listdir(self.folder / "out"), ["mine"])

    def test_interrupted_leaves_nothing(self):
        source = tiny(self.folder / "m.gguf", arch="llama", type="f32", width=1024, layers=4)
        stopped = 0
        for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)):
            for form in ("safetensors", "gguf"):
                command = [KINGLET, "convert", str(source), "-o", str(self.folder / "out"), "--format", form]
                if form == "gguf":
                    command += ["--type", "q4_k"]
                process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                while process.poll() is None and not self.writes(process):
                    time.sleep(0.002)
                process.send_signal(number)
                ended = process.wait(timeout=120)
                if (self.folder / "out").exists():  # it was quicker: then the output is whole
                    inspect(self.folder / "out")
                    subprocess.run(["rm", "-r", str(self.folder / "out")], check=True)
                else:
                    self.assertEqual(ended, status)
                    stopped += 1
                    if number == signal.SIGKILL and (form == "safetensors" or not self.has_nameless_files()):
                        # Nobody could tidy up: the next run of the same conversion does.
                        self.assertEqual(len(os.listdir(self.folder)), 2)
                        kinglet(*command[1:])
                        subprocess.run(["rm", "-r", str(self.folder / "out")], check=True)
                self.assert_only("m.gguf")
        self.assertGreater(stopped, 0)

    def writes(self, process):
        """Whether the process has begun to write below the folder, be it to a file without a name."""
        if len(os.listdir(self.folder)) > 1:
            return True
        with contextlib.suppress(OSError):  # it may end meanwhile
            for number in os.listdir(f"/proc/{process.pid}/fd"):
                target = os.readlink(f"/proc/{process.pid}/fd/{number}")
                if target.startswith(str(self.folder) + "/") and target.endswith("(deleted)"):
                    return True
        return False

    def has_nameless_files(self):
        try:
            os.close(os.open(self.folder, os.O_WRONLY | os.O_TMPFILE))
        except OSError:
            return False
        return True


class SmolLm2(Case):
    def setUp(self):
        super().setUp()
        self.source = smollm2()
        if self.source is None:
            self.skipTest("smollm2-135m-instruct is not in the store (kinglet pull smollm2-135m-instruct)")

    def test_copied_and_rounded(self):
        info = inspect(self.source)
        self.assertEqual(info["architecture"], "llama")
        self.assertEqual(info["parameters"], 134515008)
        self.assertEqual(round(info["layer_bits_per_weight"], 2), 5.01)
        copy, q8 = self.folder / "copy.gguf", self.folder / "q8.gguf"
        report = json.loads(kinglet("convert", self.source, "-o", copy, "--json").stdout)
        self.assertTrue(report["lossless"])
        self.assertEqual(copy.read_bytes(), Path(self.source).read_bytes())
        kinglet("convert", copy, "--type", "q8_0", "-o", q8)
        rounded = inspect(q8)
        self.assertEqual(rounded["metadata"]["tokenizer.ggml.tokens"], info["metadata"]["tokenizer.ggml.tokens"])
        self.assertEqual({t["type"] for t in rounded["tensors"]}, {"Q8_0", "F32"})


if __name__ == "__main__":
    unittest.main()
