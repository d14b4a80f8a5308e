"""The pass lossless: coded matrices give the same bytes back, runs that are killed go on, and what cannot be coded is refused."""
import json
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

KINGLET = os.environ["KINGLET"]
TINY = Path(__file__).resolve().parents[2] / "tools" / "make_tiny_model"


def kinglet(*arguments, code=0):
    done = subprocess.run([KINGLET, *map(str, arguments)], capture_output=True, text=True, timeout=600)
    if done.returncode != code:
        raise AssertionError(f"{arguments}: {done.returncode}, expected {code}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done


class Lossless(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = Path(self.folder.name)
        self.recipe = self.root / "r.yaml"
        self.recipe.write_text("steps: [lossless]\n")

    def tearDown(self):
        self.folder.cleanup()

    def model(self, kind):
        tiny, path = self.root / "f32.gguf", self.root / f"{kind}.gguf"
        if not tiny.exists():
            subprocess.run([sys.executable, str(TINY), "--arch=llama", "--type=f32", "--out", str(tiny)], check=True)
        if kind != "f32":
            kinglet("convert", tiny, "--type", kind, "-o", path)
        return path

    def shrink(self, source, out, *more, code=0):
        return kinglet("shrink", source, "--recipe", self.recipe, "-o", out, "--no-report", "--json", *more, code=code)

    def test_the_numbers_are_the_same(self):
        for kind in ("bf16", "f16"):
            source, out, back = self.model(kind), self.root / "out.gguf", self.root / "back.gguf"
            planned = json.loads(self.shrink(source, out, "--dry-run").stdout)
            result = json.loads(self.shrink(source, out).stdout)
            self.assertEqual(result["bytes"], out.stat().st_size)
            self.assertEqual(planned["bytes"], result["bytes"])
            self.assertLess(result["bytes"], source.stat().st_size)
            self.assertLess(result["bits_per_weight"], 16)
            kinglet("convert", out, "-o", back)
            values = {}
            for path in (source, back):
                value = json.loads(kinglet("inspect", path, "--json").stdout)
                values[path] = [(t["name"], t["type"], t["shape"]) for t in value["tensors"]]
            self.assertEqual(values[source], values[back])
            text = self.root / "text.txt"
            text.write_text("the quick brown fox jumps over the lazy dog. " * 60)
            done = kinglet("eval", out, "--against", source, "--text", text, "--context", "64", "--worst", "0", "--json")
            self.assertEqual(json.loads(done.stdout)["kl"]["max"], 0)
            for path in (out, back):
                path.unlink()

    def test_matrices_that_stay_coded_answer_the_same(self):
        source, out = self.model("bf16"), self.root / "out.gguf"
        kinglet("convert", source, "--lossless", "-o", out)
        text = self.root / "text.txt"
        text.write_text("the quick brown fox jumps over the lazy dog. " * 60)
        prompts = self.root / "prompts.jsonl"
        prompts.write_text("".join(json.dumps({"prompt": text}) + "\n" for text in ("the end of one", "it was", "he")))

        def answers(model, *more):
            done = kinglet("run", model, "--prompts", prompts, "--raw", "--ignore-eos", "-n", "24", "--json", *more)
            return [json.loads(line)["token_ids"] for line in done.stdout.splitlines()]

        for options in ((), ("--temperature", "0.8", "--seed", "5"), ("--batch", "3"), ("--drafter", "layers:1")):
            expected = answers(source, "--threads", "1", *options)
            for threads in ("1", "2"):
                self.assertEqual(answers(out, "--keep-coded", "--threads", threads, *options), expected)
        done = kinglet("eval", out, "--keep-coded", "--against", source, "--text", text, "--context", "64", "--worst", "0", "--json")
        self.assertEqual(json.loads(done.stdout)["kl"]["max"], 0)
        self.assertIn("convert", kinglet("run", source, "it was", "--keep-coded", code=4).stderr)
        kinglet("run", out, "it was", "--keep-coded", "--weight-memory", "1MB", code=2)

    def test_f32_that_is_bf16_is_coded_as_that(self):
        self.model("bf16")
        wide, out = self.root / "wide.gguf", self.root / "out.gguf"
        kinglet("convert", self.root / "bf16.gguf", "--type", "f32", "-o", wide)
        self.shrink(wide, out)
        self.assertLess(out.stat().st_size, self.root.joinpath("bf16.gguf").stat().st_size)

    def test_what_has_nothing_to_code_is_refused(self):
        self.model("f32")  # random f32 is no bf16
        done = self.shrink(self.root / "f32.gguf", self.root / "out.gguf", code=4)
        self.assertIn("nothing to code without loss", done.stderr)
        self.assertFalse((self.root / "out.gguf").exists())


if __name__ == "__main__":
    unittest.main()
