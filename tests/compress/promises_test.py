"""What kinglet shrink promises before it works, and that a run which goes on makes the choices of the one that began."""
import json
import math
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from shrink_test import KINGLET, TINY, kinglet


class Promises(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.here = Path(self.folder.name)
        self.out = self.here / "out.gguf"
        self.text = self.here / "text.txt"
        self.text.write_text("\n".join(f"{i} lights of the water, and {i * i % 97} of that in it" for i in range(300)))

    def make(self, *options):
        path = self.here / "model.gguf"
        subprocess.run([sys.executable, str(TINY), "--arch=llama", *options, "--out", str(path)], check=True)
        return path

    def recipe(self, step):
        path = self.here / "r.yaml"
        path.write_text(f"steps:\n  - {step}\n")
        return path

    def test_the_same_journal_of_times_gives_the_same_model(self):
        """Timings steer --speed, so only what is journalled may: twice the same model, and another one for other times."""
        model = self.make("--type=f32")
        command = ("shrink", model, "-o", self.out, "--text", self.text, "--no-report", "--json", "--speed", "99x", "--recipe",
                   self.recipe("quantize"))
        kinglet(*command, code=6)  # out of reach: the times stay in the work folder
        partial = self.here / "out.gguf.partial"
        times = json.loads((partial / "times.json").read_text())
        self.assertGreater(times["source_seconds"], 0)
        tensors = json.loads(kinglet("inspect", model, "--json").stdout)["tensors"]
        weights = sum(math.prod(t["shape"]) for t in tensors if len(t["shape"]) == 2)
        key = (partial / "key").read_bytes()

        def run(picoseconds):
            """Goes on where types were timed so, and where a speed was tried that was enough."""
            partial.mkdir(exist_ok=True)
            (partial / "key").write_bytes(key)
            journal = {"source_seconds": 1.0, "scale": 1.0, "other_seconds": 0.0,
                       "types": [{**entry, "picoseconds_a_weight": picoseconds(entry["type"])} for entry in times["types"]]}
            (partial / "times.json").write_text(json.dumps(journal))
            (partial / "speeds.json").write_text(json.dumps([{"seconds": 20e-12 * weights, "speed": 103.0}]))
            result = json.loads(kinglet(*command).stdout)
            self.assertFalse(partial.exists())
            return self.out.read_bytes(), result["bits_per_weight"]

        by_bits = {"K2": 11.0, "K3": 16.0, "K4": 21.0, "K5": 26.0, "Q8_0": 42.0}
        first, again = (run(lambda name: by_bits.get(name, 60.0)) for _ in range(2))
        other = run(lambda name: 12.0 if name == "Q8_0" else 40.0)
        self.assertEqual(first, again)
        self.assertNotEqual(first[0], other[0])
        self.assertLess(first[1], other[1])

    @unittest.skipIf("asan" in KINGLET, "sanitizers keep memory of their own")
    def test_the_predicted_memory_is_what_a_run_takes(self):
        """One wide layer, so that what grows with the model is most of it; within a quarter."""
        source = self.make("--type=bf16", "--layers=1", "--width=1024", "--heads=16", "--feed-forward=3072")
        command = ["shrink", source, "-o", self.out, "--text", self.text, "--no-report", "--threads", "2", "--recipe",
                   self.recipe("gptq: {type: q4_0, tokens: 64, sweeps: 0}")]
        wanted = json.loads(kinglet(*command, "--dry-run", "--json").stdout)["memory_bytes"]
        program = ("import resource, subprocess, sys; code = subprocess.run(sys.argv[1:]).returncode; "
                   "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)")
        done = subprocess.run([sys.executable, "-c", program, KINGLET, *map(str, command)], capture_output=True, text=True,
                              timeout=900, check=False)
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        peak = int(done.stdout.splitlines()[-1]) * 1024
        self.assertLess(abs(peak - wanted), 0.25 * wanted, f"{peak} bytes, predicted {wanted}")


if __name__ == "__main__":
    unittest.main()
