"""The pass aqlm from the outside: exact sizes, better than plain rounding, resumed runs give the same bytes."""
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
KINGLET = os.environ.get("KINGLET", os.path.join(ROOT, "build", "release", "kinglet"))
TEXT = "the and of to in is it that was he for on are with his they at be this from have or by one had not but what all "


def kinglet(*arguments, check=True):
    done = subprocess.run([KINGLET, *arguments], capture_output=True, text=True, check=False)
    if check and done.returncode != 0:
        raise AssertionError(f"{arguments}: {done.returncode}\n{done.stderr}")
    return done


def sha(path):
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()


class Aqlm(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="aqlm-")
        cls.path = cls.folder.name
        cls.model = os.path.join(cls.path, "tiny.gguf")
        subprocess.run([sys.executable, os.path.join(ROOT, "tools", "make_tiny_model"), "--arch", "llama", "--format", "gguf",
                        "--type", "f32", "--out", cls.model], check=True, capture_output=True)
        cls.text = os.path.join(cls.path, "text.txt")
        words = TEXT.split()
        with open(cls.text, "w", encoding="utf-8") as file:
            file.write(" ".join(words[(i * i + 3 * i // 7) % len(words)] for i in range(3000)))

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def shrink(self, step, name, *more, check=True):
        recipe, out = os.path.join(self.path, name + ".yaml"), os.path.join(self.path, name)
        with open(recipe, "w", encoding="utf-8") as file:
            file.write("steps:\n  - " + step + "\n")
        done = kinglet("shrink", self.model, "--recipe", recipe, "--text", self.text, "-o", out, "--no-report", *more,
                       check=check)
        return out if check else done

    def kl(self, model):
        done = kinglet("eval", model, "--against", self.model, "--text", self.text, "--context", "128", "--worst", "0", "--json")
        return json.loads(done.stdout)["kl"]["mean"]

    def test_better_than_plain_rounding_and_of_the_planned_size(self):
        ours = self.shrink("aqlm: {codebooks: 2, tokens: 512}", "two.gguf")
        plain = self.shrink("quantize: {tensors: {'blk.*': u2}}", "plain.gguf")
        self.assertLess(self.kl(ours), 0.8 * self.kl(plain))
        done = self.shrink("aqlm: {codebooks: 2, tokens: 512}", "dry.gguf", "--dry-run", "--json", check=False)
        self.assertIn(str(os.path.getsize(ours)), done.stdout)
        more = self.shrink("aqlm: {codebooks: 3, tokens: 512}", "three.gguf")
        self.assertLess(self.kl(more), self.kl(ours))

    def test_threads_and_a_kill_change_no_bit(self):
        step = "aqlm: {tokens: 512, tensors: ['*ffn*', '*attn_q*']}"
        whole = sha(self.shrink(step, "whole.gguf", "--threads", "1"))
        out = os.path.join(self.path, "killed.gguf")
        command = [KINGLET, "shrink", self.model, "--recipe", os.path.join(self.path, "whole.gguf.yaml"), "--text", self.text,
                   "-o", out, "--no-report"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None and not any(f.is_file() for d in [out + ".partial"] if os.path.isdir(d)
                                                 for f in os.scandir(d)):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
        process.wait()
        self.assertEqual(subprocess.run(command, capture_output=True, check=False).returncode, 0)
        self.assertEqual(sha(out), whole)

    def test_answers_do_not_depend_on_threads_and_chunks(self):
        model = self.shrink("aqlm: {tokens: 512, rounds: 1}", "answers.gguf")
        answers = {kinglet("run", model, "--raw", "the and of to in", "--max-tokens", "12", "--temperature", "0", "--threads",
                           threads).stdout for threads in ("1", "3")}
        self.assertEqual(len(answers), 1)

    def test_what_cannot_be_done_is_said(self):
        done = self.shrink("aqlm: {codebooks: 5}", "five.gguf", check=False)
        self.assertEqual(done.returncode, 2)
        done = self.shrink("aqlm: {tensors: ['blk.*.nothing']}", "none.gguf", check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("no matrix", done.stderr)


if __name__ == "__main__":
    unittest.main()
