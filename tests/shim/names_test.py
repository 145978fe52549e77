"""The names that the shim must answer, and no others: a missing twin goes past us to the kernel's socket, silently."""
import os
import subprocess
import sys

LIBRARY = os.path.join(os.environ["SHUNT_TEST_BUILD_DIR"], "lib", "libshunt_preload.so")
NAMES = """
socket __socket bind listen accept accept4 connect __connect shutdown getsockname getpeername
getsockopt setsockopt ioctl sockatmark
read __read __read_chk write __write readv writev preadv2 preadv64v2 pwritev2 pwritev64v2
send __send sendto sendmsg sendmmsg __sendmmsg recv __recv_chk recvfrom __recvfrom_chk recvmsg recvmmsg
sendfile sendfile64 splice
close __close close_range closefrom dup dup2 __dup2 dup3 fcntl fcntl64 __fcntl
poll __poll __poll_chk ppoll __ppoll_chk select __select pselect
epoll_create epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2
fdopen _IO_fdopen fclose dprintf __dprintf_chk vdprintf __vdprintf_chk
sigaction __sigaction signal bsd_signal ssignal sysv_signal __sysv_signal sigset siginterrupt
fork __fork _exit _Exit execve execv execvp execvpe execveat fexecve execl execlp execle
""".split()


def exported():
    listing = subprocess.run(["nm", "-D", "--defined-only", LIBRARY], check=True, capture_output=True, text=True).stdout
    return {line.split()[2].split("@")[0] for line in listing.splitlines()}


def main():
    if not os.path.exists(LIBRARY):
        print("SKIP: libshunt_preload.so is not built")
        sys.exit(77)
    there, wanted = exported(), set(NAMES)
    if there != wanted:
        sys.exit(f"not answered: {sorted(wanted - there)}; answered, but not in this list: {sorted(there - wanted)}")


main()
