"""`cmake --install` gives a prefix that works: the program, and a library that another CMake project links."""
import os
import re
import subprocess
import tempfile
import unittest

PROGRAM = os.path.abspath(os.environ["KINGLET"])

PROJECT = """cmake_minimum_required(VERSION 3.25)
project(consumer CXX)
set(CMAKE_CXX_STANDARD 20)
find_package(kinglet REQUIRED)
add_executable(consumer main.cpp)
target_link_libraries(consumer PRIVATE kinglet::kinglet)
"""

SOURCE = """#include <kinglet/chat.h>
#include <kinglet/store.h>
#include <nlohmann/json.hpp>
#include <cstdio>
int main() {
  const auto parsed = kinglet::ChatTemplate::parse("{{ greeting|upper }}");
  const auto text = parsed->render({{"greeting", "hello"}});
  std::printf("%s %d\\n", text->c_str(), static_cast<int>(kinglet::catalogue().size()));
  return kinglet::resolve_model("no-such-model") ? 1 : 0;
}
"""


def run(*words, **options):
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, **options)
    assert done.returncode == 0, f"{words}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.prefix = os.path.join(cls.folder.name, "prefix")
        run("cmake", "--install", os.path.dirname(PROGRAM), "--prefix", cls.prefix)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def test_the_installed_program_runs(self):
        self.assertIn("kinglet", run(os.path.join(self.prefix, "bin", "kinglet"), "version"))

    def test_completions_and_man_pages_are_there(self):
        share = os.path.join(self.prefix, "share")
        for path in ("bash-completion/completions/kinglet", "zsh/site-functions/_kinglet",
                     "fish/vendor_completions.d/kinglet.fish", "man/man1/kinglet.1", "man/man1/kinglet-run.1"):
            self.assertGreater(os.path.getsize(os.path.join(share, path)), 100, path)

    def test_another_project_finds_and_links_the_library(self):
        project = os.path.join(self.folder.name, "consumer")
        os.makedirs(project)
        for name, text in (("CMakeLists.txt", PROJECT), ("main.cpp", SOURCE)):
            with open(os.path.join(project, name), "w", encoding="utf-8") as file:
                file.write(text)
        build = os.path.join(project, "build")
        with open(os.path.join(os.path.dirname(PROGRAM), "CMakeCache.txt"), encoding="utf-8") as file:
            cache = dict(re.findall(r"^(\w+):\w+=(.*)$", file.read(), re.MULTILINE))
        compiler, sanitize = cache["CMAKE_CXX_COMPILER"], cache.get("KINGLET_SANITIZE")
        flags = f"-fsanitize={sanitize}" if sanitize else ""
        run("cmake", "-G", "Ninja", "-S", project, "-B", build, f"-DCMAKE_PREFIX_PATH={self.prefix}", f"-DCMAKE_CXX_COMPILER={compiler}",
            f"-DCMAKE_CXX_FLAGS={flags}")
        run("cmake", "--build", build)
        environment = dict(os.environ, KINGLET_HOME=os.path.join(self.folder.name, "home"))
        self.assertRegex(run(os.path.join(build, "consumer"), env=environment), r"^HELLO [1-9]")


if __name__ == "__main__":
    unittest.main()
