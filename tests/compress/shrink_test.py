"""kinglet shrink as a user runs it: targets, recipes, dry runs, what is left when it fails, and kills at any moment.

    tests/compress/shrink_test.py --full    # 50 kills instead of 6
"""
import json
import math
import os
import random
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

KINGLET = os.environ["KINGLET"]
TINY = Path(__file__).resolve().parents[2] / "tools" / "make_tiny_model"
FULL = "--full" in sys.argv


def kinglet(*arguments, code=0, **options):
    done = subprocess.run([KINGLET, *map(str, arguments)], capture_output=True, text=True, timeout=900, **options)
    if done.returncode != code:
        raise AssertionError(f"kinglet {' '.join(map(str, arguments))} ended with {done.returncode}, expected {code}\n"
                             f"{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done


def write_sparse_model(path, layers, width, inner, vocabulary):
    """A llama of f16 zeros: a header, and a hole for the rest."""
    def text(value):
        data = value.encode()
        return struct.pack("<Q", len(data)) + data

    tensors = [("token_embd.weight", (vocabulary, width)), ("output.weight", (vocabulary, width)),
               ("output_norm.weight", (width,))]
    for i in range(layers):
        tensors += [(f"blk.{i}.{name}.weight", shape) for name, shape in (
            ("attn_norm", (width,)), ("ffn_norm", (width,)), ("attn_q", (width, width)), ("attn_k", (width, width)),
            ("attn_v", (width, width)), ("attn_output", (width, width)), ("ffn_gate", (inner, width)),
            ("ffn_up", (inner, width)), ("ffn_down", (width, inner)))]
    numbers = {"block_count": layers, "context_length": 2048, "embedding_length": width, "feed_forward_length": inner,
               "attention.head_count": width // 128, "attention.head_count_kv": width // 128}
    metadata = text("general.architecture") + struct.pack("<I", 8) + text("llama")
    for key, value in numbers.items():
        metadata += text("llama." + key) + struct.pack("<II", 4, value)
    metadata += text("llama.attention.layer_norm_rms_epsilon") + struct.pack("<If", 6, 1e-5)
    directory, offset = b"", 0
    for name, shape in tensors:
        kind, size = (1, 2) if len(shape) == 2 else (0, 4)
        directory += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *reversed(shape))
        directory += struct.pack("<IQ", kind, offset)
        offset += -(-math.prod(shape) * size // 32) * 32
    header = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(numbers) + 2) + metadata + directory
    with open(path, "wb") as file:
        file.write(header)
        file.truncate(-(-len(header) // 32) * 32 + offset)


def start(model, out, *options):
    return subprocess.Popen([KINGLET, "shrink", model, "-o", out, "--no-report", *options], stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE)


def kill(process, after):
    """Kills it unless it ends before; its status."""
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode


def kill_and_resume(test, model, options, wanted_kills):
    """Starts the same run again and again, killed at random moments, until there were so many kills and it ends."""
    begun = time.monotonic()
    test.assertEqual(kill(start(model, test.out, *options), 600), 0)
    whole = time.monotonic() - begun
    wanted = test.out.read_bytes()
    test.out.unlink()
    rng = random.Random(1)
    kills = ends = 0
    for _ in range(400):
        # Short and long ones: a run that never gets further than its start must not be all that is tried.
        status = kill(start(model, test.out, *options), rng.uniform(0, 1.2) * whole)
        test.assertIn(status, (0, -signal.SIGKILL))
        if status == 0:
            test.assertEqual(test.out.read_bytes(), wanted)
            test.assertEqual([path.name for path in test.here.iterdir() if path.name != "r.yaml"], [test.out.name])
            test.out.unlink()
            ends += 1
            if kills >= wanted_kills:
                break
        else:
            kills += 1
            test.assertFalse(test.out.exists() and test.out.read_bytes() != wanted)
    test.assertGreaterEqual(kills, wanted_kills)
    if FULL:
        print(f"{test.id()}: {kills} kills, {ends} ends, each the same {len(wanted)} bytes; a run takes {whole:.1f} s",
              file=sys.stderr)


class Shrink(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.root = Path(cls.folder.name)
        cls.model = cls.root / "tiny.gguf"
        subprocess.run([sys.executable, str(TINY), "--arch=llama", "--type=f32", "--out", str(cls.model)], check=True)
        rng = random.Random(3)
        words = ["the", "and", "ing", "of", "to", "water", "in", "is", "it", "that", "was", "light", "he", "for", "on"]
        cls.text = cls.root / "text.txt"
        cls.text.write_text("\n".join(" ".join(rng.choice(words) for _ in range(60)) for _ in range(30)))

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def setUp(self):
        self.here = self.root / self.id().rsplit(".", 1)[1]
        self.here.mkdir()
        self.out = self.here / "out.gguf"

    def shrink(self, *options, **more):
        return kinglet("shrink", self.model, "-o", self.out, "--text", self.text, "--no-report", "--json", *options,
                       **more)

    def recipe(self, text):
        path = self.here / "r.yaml"
        path.write_text(text)
        return path

    def left(self):
        return sorted(path.name for path in self.here.iterdir() if path.name != "r.yaml")

    def test_size_is_at_or_under_the_target_and_as_planned(self):
        whole = self.model.stat().st_size
        for share in (0.9, 0.5, 0.33):
            target = int(whole * share)
            planned = json.loads(self.shrink("--to", target, "--dry-run").stdout)
            self.assertEqual(self.left(), ["out.gguf"] if share < 0.9 else [])
            result = json.loads(self.shrink("--to", target).stdout)
            self.assertEqual(result["output"], str(self.out))
            self.assertEqual(result["bytes"], self.out.stat().st_size)
            self.assertEqual(result["bytes"], planned["bytes"])
            self.assertLessEqual(result["bytes"], target)
            inspected = json.loads(kinglet("inspect", self.out, "--json").stdout)
            self.assertAlmostEqual(inspected["bits_per_weight"], result["bits_per_weight"], places=9)
            self.assertAlmostEqual(inspected["layer_bits_per_weight"], result["layer_bits_per_weight"], places=9)
            self.assertEqual(self.left(), ["out.gguf"])

    def test_bits_are_at_or_under_the_target(self):
        for bits in (8.6, 6.25):
            result = json.loads(self.shrink("--bits", bits).stdout)
            self.assertLessEqual(result["bits_per_weight"], bits)
            self.assertGreater(result["bits_per_weight"], bits - 1.5)

    def test_impossible_targets_say_what_is_possible(self):
        done = self.shrink("--to", "20kB", code=2)
        self.assertIn("The smallest that quantizing gives is", done.stderr)
        self.assertIn("needs a target", self.shrink(code=2).stderr)

    def test_recipe_is_the_flags(self):
        self.shrink("--type", "q8_0")
        flags = self.out.read_bytes()
        path = self.recipe("steps:\n  - quantize:\n      type: q8_0\n")
        kinglet("shrink", self.model, "-o", self.out, "--recipe", path, "--text", self.text, "--no-report")
        self.assertEqual(self.out.read_bytes(), flags)
        path = self.recipe("steps:\n  - quantize:\n      type: q8_0\n      tensors: {'blk.0.*': q4_0}\n")
        kinglet("shrink", self.model, "-o", self.out, "--recipe", path, "--text", self.text, "--no-report")
        types = {t["name"]: t["type"] for t in json.loads(kinglet("inspect", self.out, "--json").stdout)["tensors"]}
        self.assertEqual(types["blk.0.attn_q.weight"], "Q4_0")
        self.assertEqual(types["blk.1.attn_q.weight"], "Q8_0")

    def test_recipe_errors_name_the_line(self):
        path = self.recipe("seed: 1\nsteps:\n  - quantize:\n      type: q99\n")
        done = self.shrink("--recipe", path, code=2)
        self.assertIn("r.yaml:4: there is no type 'q99'", done.stderr)
        done = self.shrink("--recipe", self.recipe("steps: [quantize: {tensors: {nothing.here: q8_0}}]\n"), code=2)
        self.assertIn("no matrix of this model matches 'nothing.here'", done.stderr)
        self.shrink("--recipe", self.here / "absent.yaml", code=3)

    def test_threads_and_chained_steps_do_not_change_a_byte(self):
        path = self.recipe("to: 60%\n".replace("60%", str(self.model.stat().st_size // 2)))
        results = []
        for threads in (1, 3):
            self.shrink("--recipe", path, "--threads", threads)
            results.append(self.out.read_bytes())
        self.assertEqual(results[0], results[1])
        # q8_0 twice is q8_0 once.
        self.shrink("--type", "q8_0")
        once = self.out.read_bytes()
        path = self.recipe("steps:\n  - quantize: {type: q8_0}\n  - quantize: {type: q8_0}\n")
        self.shrink("--recipe", path)
        self.assertEqual(self.out.read_bytes(), once)

    def test_failures_leave_the_previous_file(self):
        self.out.write_bytes(b"precious")
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        done = self.shrink("--type", "q8_0", code=5, preexec_fn=limit)
        self.assertIn("Free space", done.stderr)
        self.assertEqual(self.out.read_bytes(), b"precious")
        kinglet("shrink", self.root / "none.gguf", "-o", self.out, "--type", "q8_0", code=3)
        self.assertEqual(self.out.read_bytes(), b"precious")
        self.shrink("--type", "q8_0")  # goes on from what was finished
        self.assertEqual(self.left(), ["out.gguf"])

    def test_outputs_that_cannot_be_written(self):
        done = kinglet("shrink", self.model, "-o", self.here, "--type", "q8_0", code=2)
        self.assertIn("found a folder", done.stderr)
        done = kinglet("shrink", self.model, "-o", "/proc/kinglet.gguf", "--type", "q8_0", "--text", self.text,
                       code=3 if os.geteuid() == 0 else 1)
        self.assertIn("/proc/kinglet.gguf.partial", done.stderr)
        (self.here / "out.gguf.partial").write_text("a file in the way")
        self.assertIn("found a file", self.shrink("--type", "q8_0", code=2).stderr)

    def test_another_recipe_starts_anew(self):
        self.shrink("--type", "q4_0")
        wanted = self.out.read_bytes()
        self.out.unlink()
        process = self.start("--type", "q8_0")
        self.kill(process, 0.02)
        self.shrink("--type", "q4_0")
        self.assertEqual(self.out.read_bytes(), wanted)
        self.assertEqual(self.left(), ["out.gguf"])

    def start(self, *options):
        return start(self.model, self.out, "--text", self.text, *options)

    def kill(self, process, after):
        return kill(process, after)

    def test_kills_at_any_moment_give_the_same_file(self):
        options = ("--text", self.text, "--recipe", self.recipe(f"to: {self.model.stat().st_size // 2}\n"
                                                                "steps:\n  - quantize: {type: q8_0}\n  - quantize\n"))
        kill_and_resume(self, self.model, options, 50 if FULL else 6)

    def test_interrupt_keeps_the_work_and_exits_130(self):
        process = self.start("--type", "q8_0")
        time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        process.communicate()
        self.assertIn(process.returncode, (0, 130, -signal.SIGINT))

    def test_quality_target_with_report(self):
        done = kinglet("shrink", self.model, "-o", self.out, "--text", self.text, "--max-kl", "0.02", "--recipe",
                       self.recipe("steps: [quantize]\n"), "--json")
        result = json.loads(done.stdout)
        self.assertEqual(result["report"], str(self.out) + ".report.html")
        self.assertEqual(self.left(), ["out.gguf", "out.gguf.report.html", "out.gguf.report.json"])
        page = Path(result["report"]).read_text()
        self.assertIn("out.gguf", page)
        self.assertTrue(page.rstrip().endswith("</html>"))
        report = json.loads((self.here / "out.gguf.report.json").read_text())
        source, small = report["models"]
        self.assertEqual(small["bytes"], self.out.stat().st_size)
        self.assertEqual(source["bytes"], self.model.stat().st_size)
        self.assertLessEqual(small["kl_mean"] + 1.96 * small["kl_standard_error"], 0.02)
        self.assertGreater(small["kl_mean"], 0)
        self.assertEqual((source["kl_mean"], source["top1_agreement"]), (0, 1))
        self.assertGreater(small["decode_tokens_per_second"], 0)
        self.assertGreaterEqual(len(report["candidates"]), 1)
        self.assertEqual(len(small["layers"]), 2)
        self.assertIn("--max-kl 0.02", report["commands"][0])

    def test_quality_out_of_reach_is_a_missed_gate(self):
        self.out.write_bytes(b"precious")
        done = self.shrink("--max-kl", "1e-6", "--to", self.model.stat().st_size // 4, "--recipe",
                           self.recipe("steps: [quantize]\n"), code=6)
        self.assertIn("no size tried keeps the divergence below 1e-06", done.stderr)
        self.assertEqual(self.out.read_bytes(), b"precious")

    def test_speed_target_is_tried_and_chosen(self):
        # Other work of a busy machine may slow one of the two timings thirtyfold: one of a few tries must meet so low a speed.
        for tries in range(5):
            try:
                result = json.loads(self.shrink("--speed", "0.2x", "--recipe", self.recipe("steps: [quantize]\n")).stdout)
                break
            except AssertionError:
                if tries == 4:
                    raise
                shutil.rmtree(self.here / "out.gguf.partial", ignore_errors=True)  # it keeps the timings
        self.assertLessEqual(result["bytes"], self.model.stat().st_size)
        self.assertEqual(self.left(), ["out.gguf"])
        self.assertIn("--speed takes a multiple", self.shrink("--speed", "fast", code=2).stderr)

    def test_compare_agrees_with_eval(self):
        self.shrink("--type", "q4_0")
        value = json.loads(kinglet("compare", self.model, self.out, "--text", self.text, "--context", 64, "--rounds", 1,
                                   "--no-answers", "--json").stdout)
        both = json.loads(kinglet("eval", self.out, "--against", self.model, "--text", self.text, "--context", 64,
                                  "--json").stdout)
        first, second = value["models"]
        self.assertAlmostEqual(second["kl_mean"], both["kl"]["mean"], places=12)
        self.assertAlmostEqual(second["perplexity"], both["perplexity"], places=9)
        self.assertAlmostEqual(first["perplexity"], both["reference_perplexity"], places=9)
        self.assertAlmostEqual(second["top1_agreement"], both["top1_agreement"], places=12)
        self.assertEqual([m["path"] for m in value["models"]], [str(self.model), str(self.out)])
        same = json.loads(kinglet("compare", self.model, self.model, "--text", self.text, "--context", 64, "--rounds",
                                  0, "--json").stdout)["models"][1]
        self.assertEqual((same["kl_mean"], same["kl_p99"], same["top1_agreement"]), (0, 0, 1))

    def test_the_recipe_of_a_report_makes_the_same_file(self):
        kinglet("shrink", self.model, "-o", self.out, "--text", self.text, "--to", self.model.stat().st_size // 4, "--recipe",
                self.recipe("steps: [quantize]\n"))
        made = self.out.read_bytes()
        recipe = json.loads((self.here / "out.gguf.report.json").read_text())["recipe"]
        self.out.unlink()
        self.shrink("--recipe", self.recipe(recipe))
        self.assertEqual(self.out.read_bytes(), made)
        done = self.shrink("--recipe", self.recipe(recipe), "--to", len(made) - 1000, code=2)
        self.assertIn("more than the target", done.stderr)

    def test_a_measured_result_moves_later_predictions(self):
        """One result of the same step: the same prediction then is close to it, and one at another size moves towards it."""
        home = dict(os.environ, KINGLET_HOME=str(self.here / "home"))
        step = self.recipe("steps: [gptq: {tokens: 512}]\n")  # loses less than the plain rounding that is predicted
        sizes = [self.model.stat().st_size // 4, self.model.stat().st_size // 5]

        def predicted(size):
            plan = json.loads(kinglet("shrink", self.model, "--text", self.text, "--to", size, "--recipe", step, "--dry-run",
                                      "--json", "-o", self.out, env=home).stdout)
            return plan["predicted_kl"], plan["earlier_results"]
        before = [predicted(size) for size in sizes]
        self.assertEqual([each[1] for each in before], [0, 0])
        kinglet("shrink", self.model, "-o", self.out, "--text", self.text, "--to", sizes[0], "--recipe", step, env=home)
        measured = json.loads((self.here / "out.gguf.report.json").read_text())["models"][1]["kl_mean"]
        after = [predicted(size) for size in sizes]
        self.assertEqual([each[1] for each in after], [1, 1])
        distance = [abs(math.log(each[0][0] / measured)) for each in (before, after)]
        self.assertGreater(distance[0], 0.05)  # or there is nothing to correct
        self.assertLess(distance[1], 0.1 * distance[0])
        self.assertEqual(after[1][0] < before[1][0], after[0][0] < before[0][0])

    def test_each_of_several_texts_is_reported(self):
        self.shrink("--type", "q4_0")
        other = self.here / "other.txt"
        other.write_text("\n".join(f"{i} + {i * i} = {i + i * i}; if (x > {i}) return f(x - {i});" for i in range(200)))
        value = json.loads(kinglet("compare", self.model, self.out, self.model, "--text", self.text, "--text", other,
                                   "--context", 64, "--rounds", 0, "--no-answers", "--windows", 9, "--json").stdout)
        _, small, same = value["models"]
        self.assertEqual([each["name"] for each in small["texts"]], [str(self.text), str(other)])
        worst = min(small["texts"], key=lambda each: each["retention"])
        self.assertEqual([each["worst"] for each in small["texts"]],
                         [each is worst and worst["retention"] < 1 for each in small["texts"]])
        tokens = sum(each["tokens"] for each in small["texts"])
        self.assertAlmostEqual(sum(each["kl_mean"] * each["tokens"] for each in small["texts"]) / tokens, small["kl_mean"])
        for each in same["texts"]:
            self.assertEqual((each["retention"], each["kl_mean"], each["top1_agreement"], each["worst"]), (1, 0, 1, False))

    @unittest.skipUnless(FULL, "writes 4 GB and takes minutes")
    def test_seven_billion_parameters_in_four_gib(self):
        source = self.here / "seven.gguf"
        write_sparse_model(source, layers=32, width=4096, inner=11008, vocabulary=32000)
        program = ("import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode; "
                   "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)")
        done = subprocess.run([sys.executable, "-c", program, KINGLET, "shrink", source, "-o", self.out, "--to", "3.9GB",
                               "--memory", "3GB", "--recipe", self.recipe("steps: [quantize]\n"), "--json"],
                              capture_output=True, text=True, timeout=3600)
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        self.assertIn("no report", done.stderr)
        self.assertLessEqual(self.out.stat().st_size, 3_900_000_000)
        peak = int(done.stdout.splitlines()[-1]) * 1024
        print(f"peak of a 7B-shaped run: {peak / 2**30:.2f} GiB", file=sys.stderr)
        self.assertLess(peak, 4 << 30)

    def test_two_at_once_refuse_each_other(self):
        partial = self.here / "out.gguf.partial"
        partial.mkdir()
        import fcntl
        with open(partial / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            done = self.shrink("--type", "q8_0", code=1)
        self.assertIn("another shrink is writing the same output", done.stderr)


@unittest.skipUnless(FULL, "minutes on a real model")
class RealModel(unittest.TestCase):
    """A model of the store, on disks that fill up or cannot be written."""

    MODEL = "all-minilm-l6-v2"
    RECIPE = "steps:\n  - gptq: {type: q4_0, tokens: 128, sweeps: 0}\n"

    def setUp(self):
        if subprocess.run([KINGLET, "inspect", self.MODEL], capture_output=True, check=False).returncode != 0:
            self.skipTest(self.MODEL + " is not in the store")
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.here = Path(self.folder.name)
        self.out = self.here / "out.gguf"
        self.options = ["--recipe", self.here / "r.yaml"]
        self.options[1].write_text(self.RECIPE)

    def mount(self, size):
        if os.geteuid() != 0:
            self.skipTest("mounting takes root")
        folder = self.here / "disk"
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
        self.addCleanup(subprocess.run, ["umount", str(folder)], check=True)
        (folder / "out.gguf").write_bytes(b"precious")
        return folder

    def shrink(self, out, code):
        return kinglet("shrink", self.MODEL, "-o", out, "--no-report", *self.options, code=code)

    def test_fifty_kills(self):
        kill_and_resume(self, self.MODEL, self.options, 50)

    def test_a_disk_that_is_too_small(self):
        out = self.mount("20M") / "out.gguf"
        done = self.shrink(out, 5)
        self.assertIn("bytes free; this needs", done.stderr)
        self.assertEqual(out.read_bytes(), b"precious")

    def test_a_disk_that_fills_up(self):
        folder = self.mount("40M")
        out = folder / "out.gguf"
        process = start(self.MODEL, out, *self.options)
        while process.poll() is None and not list(folder.glob("out.gguf.partial/*/*")):
            time.sleep(0.01)
        with open(folder / "filler", "wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(1 << 16))
            except OSError:
                pass
        message = process.communicate()[1].decode()
        self.assertEqual(process.returncode, 5, message)
        self.assertIn("No space left on device", message)
        self.assertEqual(out.read_bytes(), b"precious")
        (folder / "filler").unlink()
        self.shrink(out, 0)
        self.assertGreater(out.stat().st_size, 1 << 20)
        self.assertEqual(os.listdir(folder), ["out.gguf"])

    def test_a_disk_that_cannot_be_written(self):
        folder = self.mount("40M")
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
        done = self.shrink(folder / "out.gguf", 1)
        self.assertIn("Read-only file system", done.stderr)
        self.assertEqual((folder / "out.gguf").read_bytes(), b"precious")
        self.assertEqual(os.listdir(folder), ["out.gguf"])


if __name__ == "__main__":
    if FULL:
        sys.argv.remove("--full")
    unittest.main()
