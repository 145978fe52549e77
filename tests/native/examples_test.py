"""The examples between two processes: plain ones on the kernel, native ones over memif, and both kinds together."""
import json
import os
import subprocess
import sys
import unittest

BUILD = os.environ["SHUNT_TEST_BUILD_DIR"]
BIN = os.path.join(BUILD, "bin")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("SHUNT_", "LD_PRELOAD"))}
WIRE = f"native-examples-{os.getpid()}"
HAS_SHIM = os.path.exists(os.path.join(BUILD, "lib", "libshunt_preload.so"))

for needed in ("echo", "echo_native", "latency", "latency_native"):
    if not os.path.exists(os.path.join(BIN, needed)):
        print(f"SKIP: {needed} is not built")
        sys.exit(77)


def on_wire(number, profile="balanced"):
    return dict(CLEAN, SHUNT_LINK=f"memif:{WIRE}", SHUNT_IP=f"10.99.0.{number}/24", SHUNT_PROFILE=profile)


class Server:
    """An echo server that has said it is ready."""

    def __init__(self, *command, env=CLEAN):
        self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.said = self.process.stdout.readline()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.errors = self.process.communicate(timeout=10)[1]
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.errors = "did not end in time"


class Examples(unittest.TestCase):
    def run_client(self, *command, env=CLEAN, count=3000):
        done = subprocess.run([*command, "--json", "--count", str(count), "--warm-up", "300"], env=env, capture_output=True, text=True, timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""), done.stdout)
        result = json.loads(done.stdout)
        self.assertEqual((result["count"], result["lost"]), (count, 0))
        self.assertLessEqual(result["p50"], result["max"])
        return result

    def all_kinds(self, client, address, env, options=()):
        for protocol in ((), ("--udp",)):
            for size in (8, 64, 1400):
                self.run_client(client, *options, *protocol, "--size", str(size), address, env=env)
        self.run_client(client, *options, "--size", "30000", address, env=env, count=500)

    def test_plain_examples_work_on_the_kernel(self):
        with Server(os.path.join(BIN, "echo"), "--port", "17001") as server:
            self.assertEqual(server.said, "echo on port 17001\n")
            for spin in ((), ("--spin",)):
                self.all_kinds(os.path.join(BIN, "latency"), "127.0.0.1", CLEAN, ("--port", "17001", *spin))
        self.assertEqual((server.errors, server.process.returncode), ("", 0))

    def test_native_examples_work_over_memif(self):
        with Server(os.path.join(BIN, "echo_native"), env=on_wire(2)) as server:
            self.assertEqual(server.said, "echo on port 7000\n")
            for spin in ((), ("--spin",)):
                self.all_kinds(os.path.join(BIN, "latency_native"), "10.99.0.2", on_wire(1), spin)
        self.assertEqual((server.errors, server.process.returncode), ("", 0))

    def test_native_examples_work_while_both_spin(self):
        with Server(os.path.join(BIN, "echo_native"), "--spin", env=on_wire(2, "latency")) as server:
            self.all_kinds(os.path.join(BIN, "latency_native"), "10.99.0.2", on_wire(1, "latency"), ("--spin",))
        self.assertEqual((server.errors, server.process.returncode), ("", 0))

    @unittest.skipUnless(HAS_SHIM, "libshunt_preload.so is not built")
    def test_plain_and_native_examples_understand_each_other(self):
        shunt = os.path.join(BIN, "shunt")
        with Server(shunt, os.path.join(BIN, "echo"), env=on_wire(2)) as server:
            self.all_kinds(os.path.join(BIN, "latency_native"), "10.99.0.2", on_wire(1))
        self.assertEqual(server.errors, "")
        with Server(os.path.join(BIN, "echo_native"), env=on_wire(2)) as server:
            done = [shunt, os.path.join(BIN, "latency"), "10.99.0.2"]
            self.run_client(*done, env=on_wire(1))
            self.run_client(*done, "--udp", env=on_wire(1))
        self.assertEqual(server.errors, "")

    def test_mistakes_give_one_clear_line(self):
        for command, env, word in (
                (["latency"], CLEAN, "ADDRESS"),
                (["latency", "--size", "7", "127.0.0.1"], CLEAN, "8 to 65000"),
                (["latency", "nowhere"], CLEAN, "IPv4"),
                (["latency", "--port", "1", "127.0.0.1"], CLEAN, "refused"),
                (["latency_native", "10.99.0.2"], CLEAN, "--link"),
                (["latency_native", "10.99.0.2"], dict(CLEAN, SHUNT_LINK=f"memif:{WIRE}-x"), "--ip"),
                (["latency_native", "10.99.0.1", "--port", "1"], on_wire(1), "refused"),
                (["latency_native", "10.98.0.1"], on_wire(1), "unreachable"),
                (["latency_native", "--udp", "--size", "3000", "10.99.0.2"], on_wire(1), "1472"),
                (["echo_native", "--port", "70000"], CLEAN, "65535"),
                (["echo", "--what"], CLEAN, "--help")):
            done = subprocess.run([os.path.join(BIN, command[0]), *command[1:]], env=env, capture_output=True, text=True, timeout=30)
            self.assertEqual(done.returncode, 1, command)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            self.assertIn(word, done.stderr)

    def test_help_is_help(self):
        for program in ("echo", "echo_native", "latency", "latency_native"):
            done = subprocess.run([os.path.join(BIN, program), "--help"], env=CLEAN, capture_output=True, text=True, timeout=10)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn("usage:", done.stdout)


unittest.main(verbosity=2)
