"""shunt's own words and exit codes: errors are one line each, and a program's status is passed on. Needs no network."""
import os
import shutil
import stat
import subprocess
import tempfile
import unittest

BUILD = os.environ["SHUNT_TEST_BUILD_DIR"]
SHUNT = os.path.join(BUILD, "bin", "shunt")
HAS_SHIM = os.path.exists(os.path.join(BUILD, "lib", "libshunt_preload.so"))
LINKED = ["--link", "memif:launcher_test", "--ip", "10.99.0.1/24"]


def run(*arguments, environment=None, launcher=SHUNT):
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SHUNT_")}
    return subprocess.run([launcher, *arguments], capture_output=True, text=True, timeout=30, env={**clean, **(environment or {})})


class Errors(unittest.TestCase):
    """Each is one line that names the option, the value and the remedy, and exits with 2 before anything starts."""

    def refused(self, text, *arguments, code=2, environment=None):
        result = run(*arguments, environment=environment)
        self.assertEqual((result.stderr, result.returncode, result.stdout), (f"shunt: error: {text}\n", code, ""))

    def test_no_program(self):
        self.refused("no program given; usage: shunt [options] [--] program [arguments], more with shunt --help")
        self.refused("no program given; usage: shunt [options] [--] program [arguments], more with shunt --help", *LINKED, "--")

    def test_no_link_and_no_address(self):
        self.refused("--link is missing: no port to work on; give one, such as --link memif:wire", "true")
        self.refused("--ip is missing: the port needs an address; give one, such as --ip 10.0.0.1/24", "--link", "memif:a", "true")

    def test_unknown_option(self):
        self.refused("--lnik: there is no such option; did you mean --link?; shunt --help shows them all", "--lnik", "x", "true")

    def test_missing_value(self):
        self.refused("--mtu: a value must follow; give N, such as 9000", *LINKED, "--mtu")

    def test_bad_values(self):
        for option, value, text in (
            ("--mtu", "1", "is out of range; give 576 to 9216 bytes"),
            ("--packets", "few", "is not a number; give 1024 to 16777216 packets"),
            ("--connections", "1", "is out of range; give 64 to 4194304 connections"),
            ("--memory-mib", "-1", "is out of range; give 0 to 1048576 MiB"),
            ("--profile", "fast", "is unknown; give one of: latency balanced throughput"),
            ("--log", "loud", "is unknown; give one of: error warning info debug"),
            ("--ip", "::1/128", "IPv6 is not carried yet; give an IPv4 address, such as 10.0.0.1/24"),
            ("--mac", "ff", "is not the hardware address of one port; give ADDR, such as 02:00:00:00:00:01"),
            ("--link", "eth0", "is no kind of link; give one of pci:ADDRESS memif:NAME tap:IFNAME xdp:IFNAME packet:IFNAME dpdk:DEVARGS loop"),
            ("--link", "loop:0", "give loop alone, without a colon: it has no port"),
            ("--link", "pci:eth0", "give the address that lspci -D shows, such as pci:0000:03:02.0"),
            ("--fault", "seed=1,drop=2", '"drop=2" is no rate; give one from 0 to 1, such as drop=0.01'),
            ("--sysctl", "net.ipv4.tcp_sac=1", "net.ipv4.tcp_sac is not a tunable that Shunt knows; did you mean net.ipv4.tcp_sack?"),
            ("--config", "/no/such.toml", "No such file or directory; give a file that can be read"),
        ):
            with self.subTest(option=option):
                self.refused(f"{option} {value}: {text}", *LINKED, option, value, "true")

    def test_gateway_out_of_reach(self):
        self.refused("--gateway 10.98.0.1 is in no network of ours; give one within 10.99.0.1/24", *LINKED, "--gateway", "10.98.0.1", "true")

    def test_bad_environment(self):
        self.refused("SHUNT_MTU=1: is out of range; give 576 to 9216 bytes", *LINKED, "true", environment={"SHUNT_MTU": "1"})

    def test_the_shim_is_missing(self):
        with tempfile.TemporaryDirectory() as folder:
            os.mkdir(os.path.join(folder, "bin"))
            lonely = shutil.copy(SHUNT, os.path.join(folder, "bin", "shunt"))
            result = run(*LINKED, "true", launcher=lonely)
            self.assertEqual((result.stderr, result.returncode), (
                f"shunt: error: libshunt_preload.so is not in {folder}/lib; build or install it beside bin/shunt\n", 2))

    @unittest.skipUnless(HAS_SHIM, "no shim yet")
    def test_no_such_program(self):
        self.refused("no-such-program: there is no such program on PATH; give its path, or install it", *LINKED, "no-such-program", code=127)
        self.refused("./no/such: there is no such program; give its path, or a name found on PATH", *LINKED, "./no/such", code=127)

    @unittest.skipUnless(HAS_SHIM, "no shim yet")
    def test_not_executable(self):
        self.refused("/etc/passwd: cannot be executed; is it a program, and has it the x permission?", *LINKED, "/etc/passwd", code=126)


class Words(unittest.TestCase):
    def test_help_names_every_option(self):
        result = run("--help")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        for name in "link ip gateway profile config log require sysctl mtu mac packets memory-mib connections fault".split():
            self.assertIn(f"--{name}", result.stdout)
        self.assertIn("examples:", result.stdout)

    def test_version(self):
        self.assertRegex(run("--version").stdout, r"^shunt \d+\.\d+\.\d+\n$")

    def test_doctor_names_every_kind_of_link(self):
        result = run("doctor")
        for link in ("memif:", "tap:", "packet:", "xdp:", "pci:"):
            self.assertRegex(result.stdout, rf"\n  {link} +(yes|no: .+)\n")
        self.assertEqual(result.returncode, 0 if HAS_SHIM else 1)


@unittest.skipUnless(HAS_SHIM, "no shim yet")
class Programs(unittest.TestCase):
    def test_the_exit_status_is_the_programs(self):
        for status in (0, 1, 2, 77, 255):
            self.assertEqual(run(*LINKED, "sh", "-c", f"exit {status}").returncode, status)
        self.assertEqual(run(*LINKED, "sh", "-c", "kill -TERM $$").returncode, -15)

    def test_options_end_at_the_program_and_at_two_dashes(self):
        self.assertEqual(run(*LINKED, "echo", "--mtu", "1").stdout, "--mtu 1\n")
        self.assertEqual(run(*LINKED, "--", "echo", "--", "x").stdout, "-- x\n")

    def test_the_command_line_becomes_the_environment(self):
        result = run(*LINKED, "--ip", "10.99.1.1/24", "--mtu=9000", "--require", "--sysctl", "net.ipv4.tcp_sack=0", "env",
                     environment={"SHUNT_SYSCTL": "net.ipv4.tcp_timestamps=0", "SHUNT_MTU": "1500"})
        words = dict(line.split("=", 1) for line in result.stdout.splitlines() if line.startswith("SHUNT_"))
        self.assertRegex(words.pop("SHUNT_CHECKED"), "^[0-9]+-[0-9a-f]+$")  # one launch's, like no other's
        self.assertEqual(words, {"SHUNT_LINK": "memif:launcher_test", "SHUNT_IP": "10.99.0.1/24,10.99.1.1/24", "SHUNT_MTU": "9000",
                                 "SHUNT_REQUIRE": "yes", "SHUNT_SYSCTL": "net.ipv4.tcp_timestamps=0,net.ipv4.tcp_sack=0"})

    def test_the_files_path_becomes_absolute(self):
        with tempfile.TemporaryDirectory() as folder:
            with open(os.path.join(folder, "s.toml"), "w", encoding="utf-8") as file:
                file.write('link = "memif:launcher_test"\nip = "10.99.0.1/24"\n')
            clean = {name: value for name, value in os.environ.items() if not name.startswith("SHUNT_")}
            result = subprocess.run([SHUNT, "--config", "s.toml", "env"], cwd=folder, capture_output=True, text=True, timeout=30, env=clean)
            self.assertIn(f"SHUNT_CONFIG={folder}/s.toml\n", result.stdout)

    def test_an_existing_preload_stays_behind_ours(self):
        library = os.path.join(BUILD, "lib", "libshunt.so")
        result = run(*LINKED, "env", environment={"LD_PRELOAD": library})
        self.assertIn(f"LD_PRELOAD={os.path.realpath(BUILD)}/lib/libshunt_preload.so:{library}\n", result.stdout)

    def test_an_unknown_variable_is_a_warning(self):
        result = run(*LINKED, "true", environment={"SHUNT_PROFIEL": "latency"})
        self.assertEqual((result.stderr, result.returncode), (
            "shunt: warning: SHUNT_PROFIEL is in the environment, but there is no such option; did you mean SHUNT_PROFILE?\n", 0))

    def test_a_program_that_cannot_be_preloaded_gives_a_warning(self):
        compiler = shutil.which("gcc") or shutil.which("cc")
        with tempfile.TemporaryDirectory() as folder:
            program = os.path.join(folder, "static")
            source = 'int main(void){return 5;}'
            if compiler is None or subprocess.run([compiler, "-static", "-x", "c", "-", "-o", program], input=source, text=True,
                                                  capture_output=True).returncode != 0:
                self.skipTest("no static libc")
            result = run(*LINKED, program)
            self.assertEqual((result.stderr, result.returncode), (
                f"shunt: warning: {program}: is statically linked; it runs on the kernel\n", 5))
            result = run(*LINKED, "--require", program)
            self.assertEqual((result.stderr, result.returncode), (
                f"shunt: error: {program}: is statically linked, so Shunt cannot accelerate it; leave out --require\n", 2))

    def test_a_go_program_gives_a_warning(self):
        compiler = shutil.which("gcc") or shutil.which("cc")
        with tempfile.TemporaryDirectory() as folder:
            program = os.path.join(folder, "of_go")
            source = ('static const struct { int name, value, type; char text[8]; } note __attribute__((section(".note.go.buildid"), aligned(4), used)) ='
                      ' {4, 4, 4, "Go\\0\\0abc"}; int main(void) { return 5; }')
            if compiler is None or subprocess.run([compiler, "-x", "c", "-", "-o", program], input=source, text=True, capture_output=True).returncode != 0:
                self.skipTest("no compiler")
            result = run(*LINKED, program)
            self.assertEqual((result.stderr, result.returncode), (
                f"shunt: warning: {program}: is a Go program, whose system calls pass libc by; it runs on the kernel\n", 5))
            self.assertEqual(run(*LINKED, "--require", program).returncode, 2)

    def test_a_set_user_id_program_of_somebody_else_gives_a_warning(self):
        if os.geteuid() != 0:
            self.skipTest("needs root to make one")
        with tempfile.TemporaryDirectory() as folder:
            program = shutil.copy("/bin/true", folder)
            os.chown(program, 65534, 65534)
            os.chmod(program, stat.S_ISUID | 0o755)
            self.assertIn("is set-user-id or set-group-id", run(*LINKED, program).stderr)


if __name__ == "__main__":
    unittest.main()
