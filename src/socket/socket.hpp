// Sockets as programs know them, over the stack: blocking, options, errors, readiness. This header is what the shim (preload/) and the native
// library call; it knows open file descriptions (Socket, EpollSet), not file descriptors, which are the shim's.
//
// Conventions: a call returns what the system call of that name returns, or -errno; errno itself is untouched. A call takes the stack's lock itself and
// may block as the Linux call would (Call::nonblocking, SO_RCVTIMEO, SO_SNDTIMEO decide). `fd` is the kernel's descriptor behind the socket: it is asked
// and polled where the kernel's side is alive as well (Socket::is_both()).
#pragma once

#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <cstdint>
#include <span>

#include "base/result.hpp"
#include "base/time.hpp"

namespace shunt {
class Stack;
}

namespace shunt::socket {

// An open file description on the stack: reference-counted, in the shared arena. Opaque to the shim.
struct Socket;
// What epoll_create makes, as far as our sockets in it are concerned.
struct EpollSet;

// ---------------------------------------------------------------- life
// A description for the kernel socket `fd` (AF_INET or AF_INET6; SOCK_STREAM or SOCK_DGRAM), one reference; takes over the options that were set on
// the kernel's. ENOBUFS when the stack's tables are full.
Result<Socket*> open(Stack& stack, int fd);
void retain(Socket& socket) noexcept;                 // dup, fork
bool try_retain(Socket& socket) noexcept;             // false: another thread has closed it meanwhile
void release(Socket& socket, int fd) noexcept;        // close: the last one closes the connection as close(2) does (SO_LINGER may block)
bool abandon(Socket& socket) noexcept;                // the end of a process: as release, but never waits; true when it was the last
bool has_corked(const Socket& socket) noexcept;       // parts of a datagram wait (UDP_CORK, MSG_MORE)
bool is_both(const Socket& socket) noexcept;          // the kernel's side is alive too (bound to the wildcard)
void set_both(Socket& socket, bool both) noexcept;
bool is_stream(const Socket& socket) noexcept;
bool is_v6(const Socket& socket) noexcept;
bool is_listener(const Socket& socket) noexcept;
void set_nonblocking(Socket& socket, bool on) noexcept;  // mirrors O_NONBLOCK of the kernel's description
bool is_nonblocking(const Socket& socket) noexcept;
void set_on_device(Socket& socket, bool on) noexcept;    // SO_BINDTODEVICE named our interface
bool is_on_device(const Socket& socket) noexcept;

// ---------------------------------------------------------------- processes
// fork, in its order. Before it: a place for the child, then a reference of each socket and set for it; whatever the parent or the child closes
// afterwards is its own.
void expect_child() noexcept;
void retain_for_child(Socket& socket) noexcept;
void retain_for_child(EpollSet& set) noexcept;
void name_child(int pid) noexcept;  // in the parent, where it knows: the child's, or -1: there is none
void become_child() noexcept;       // in the child
// This process gives up all it has: it ends.
void leave_process() noexcept;
// It becomes another program, which has what it inherits; or it does not, after all.
void depart(bool departs) noexcept;
// In that program, when it has taken what it has inherited: what it was before holds nothing more.
void bury_former_self() noexcept;
// Passing (passing.cpp). The inode of the kernel's socket behind a descriptor says which socket it was, in whichever process.
void mark(Socket& socket, std::uint64_t inode) noexcept;
void send_away(Socket& socket, std::uint64_t inode) noexcept;    // in a message: a reference goes with it
void call_back(Socket& socket) noexcept;                         // the message did not go
Socket* find_passed(std::uint64_t inode) noexcept;               // one reference; null: none of ours
// A fork leaves sockets whose side is not decided in several processes; the first to decide tells the others, who look when the count has changed.
void tell_other_processes(Socket& socket, std::uint64_t inode) noexcept;
std::uint32_t told_to_other_processes() noexcept;
Socket* find_told(std::uint64_t inode) noexcept;                 // one reference; null: none
// For a child of vfork that is about to exec, or one that libc has executed (posix_spawn): a row of its own, and references there. settle_departed(): it may have come to life meanwhile.
int enter_departing(int pid) noexcept;
void hold_for(int row, Socket& socket) noexcept;
void settle_departed(int pid) noexcept;

// ---------------------------------------------------------------- calls
// The port: named by the program, or chosen by the kernel for its side of a socket that is on both: then our connections that happen to have it do no harm.
enum class PortFrom : std::uint8_t { program, kernel };
long bind(Socket& socket, const sockaddr* address, socklen_t length, PortFrom origin = PortFrom::program) noexcept;
// The port that it was bound to was not the program's choice: it goes with the connection.
void note_chosen_port(Socket& socket) noexcept;
long listen(Socket& socket, int backlog) noexcept;
// A new description with one reference in *accepted, or, where the kernel's side has one waiting first, *accepted == nullptr and the return value 0:
// call accept4 on the kernel's fd (which will not block). Fills the peer's address when `address` is not null.
long accept(Socket& socket, int fd, Socket** accepted, sockaddr* address, socklen_t* length) noexcept;
long connect(Socket& socket, const sockaddr* address, socklen_t length) noexcept;
long shutdown(Socket& socket, int how) noexcept;

// -call_again of a call that blocked: a handler with SA_RESTART ran. It begins anew, with its descriptor, which may stand for something else by now. A number
// that no error has; 512, the kernel's own, may be pending (leave_error).
inline constexpr int call_again = 513;

// Flags as send(2) and recv(2). On a UDP socket that is_both(), a datagram to an address that is not ours must have been sent to the kernel by the shim
// before (see Runtime::decide_peer); receiving takes from both sides.
long send_message(Socket& socket, const msghdr* message, int flags) noexcept;
long receive_message(Socket& socket, int fd, msghdr* message, int flags) noexcept;
// The short ways of the same: no control data, no vector.
long send(Socket& socket, const void* data, std::size_t size, int flags) noexcept;
long receive(Socket& socket, int fd, void* data, std::size_t size, int flags) noexcept;

long get_option(Socket& socket, int level, int name, void* value, socklen_t* length) noexcept;
// What becomes of an option: `carried` by the stack; `kept` by the kernel's descriptor, since it means nothing to a stack in user space, or is advice
// that may be ignored; `foreign`: would change what the program sees and is not carried.
enum class OptionKind : std::uint8_t { carried, kept, foreign };
OptionKind kind_of_option(bool is_stream, int level, int name) noexcept;
// Kept by the kernel's descriptor, and an accepted connection has it of its listener: from one descriptor to the other.
bool is_passed_on(int level, int name) noexcept;
void pass_on_options(int listener, int accepted) noexcept;
// Set again and again while a connection lives, or refused by a socket that is not connected: the kernel's, out of the game by then, need not hear of them.
bool is_ours_alone(bool is_stream, int level, int name) noexcept;
// ENOPROTOOPT for what is not carried. The shim sets the option on the kernel's fd as well (before), so that a fall-back has it.
long set_option(Socket& socket, int level, int name, const void* value, socklen_t length) noexcept;
long local_name(Socket& socket, sockaddr* address, socklen_t* length) noexcept;
long peer_name(Socket& socket, sockaddr* address, socklen_t* length) noexcept;
// The pending error, which is told once; and one to be told by a later call. As recvmmsg does before and after.
int take_error(Socket& socket) noexcept;
void leave_error(Socket& socket, int error) noexcept;
// A flag of receive() that no program has: as splice, which stops before urgent data and does not pass them.
inline constexpr int receive_up_to_urgent = 1 << 24;
// What fcntl has set on the kernel's descriptor: F_SETOWN, F_SETOWN_EX, F_SETSIG, O_ASYNC.
void follow_signals(Socket& socket, int fd) noexcept;
// FIONREAD (SIOCINQ), SIOCOUTQ, SIOCOUTQNSD, SIOCATMARK, FIONBIO; ENOTTY for others: hand those to the kernel's fd.
long control(Socket& socket, unsigned long request, void* argument) noexcept;

// ---------------------------------------------------------------- readiness
// What poll(2) would report for the socket now: our side only. Cheap; polls the ports first.
short readiness(Socket& socket) noexcept;

// One entry of a poll: ours (socket != nullptr; for is_both() sockets `fd` is watched as well), an epoll descriptor with a set of ours, or the kernel's.
struct PollItem {
    Socket* socket = nullptr;
    EpollSet* set = nullptr;
    int fd = -1;
    short events = 0;
    short revents = 0;  // out
};
// As ppoll(2): `deadline` never for no time-out; Time{} to ask only. The number of entries with revents, or -EINTR.
long poll(Stack& stack, std::span<PollItem> items, const timespec* timeout, const sigset_t* mask) noexcept;

Result<EpollSet*> open_epoll(Stack& stack);           // the set behind a kernel epoll fd, one reference
void retain(EpollSet& set) noexcept;
void release(EpollSet& set) noexcept;
bool is_empty(const EpollSet& set) noexcept;          // none of our sockets in it: epoll_wait may go to the kernel
// A flag of epoll_control() that no program has: EPOLLONESHOT has fired already, in the kernel's set.
inline constexpr std::uint32_t epoll_fired = 1U << 27;
// As epoll_ctl(2) for one of our sockets under descriptor `fd`; for is_both() sockets the shim adds the kernel's fd to the kernel's set as well.
long epoll_control(EpollSet& set, int operation, int fd, Socket& socket, const epoll_event* event) noexcept;
// The same for a set in a set: `fd` is the inner one's, and the kernel, which has judged depth and loops, has it in its set.
long epoll_control(EpollSet& set, int operation, int fd, EpollSet& inner, const epoll_event* event) noexcept;
// What is in the kernel's set as well is registered there with this as its data, so that it is told once and EPOLLONESHOT is one shot.
epoll_data_t mark_in_kernel(EpollSet& set, int fd, Socket& socket, bool is_in_kernel) noexcept;
epoll_data_t mark_in_kernel(EpollSet& set, int fd, EpollSet& inner) noexcept;
// What the kernel's epoll_wait gave, with the program's own data again. How many are left.
int take_from_kernel(EpollSet& set, int epfd, epoll_event* events, int count) noexcept;
// As epoll_pwait2(2), over our sockets and whatever is in the kernel's set `epfd`.
long epoll_wait(EpollSet& set, int epfd, epoll_event* events, int max_events, const timespec* timeout, const sigset_t* mask) noexcept;

// ---------------------------------------------------------------- cancellation
// Asked where a call waits: true ends it with -EINTR. For this process, from now on.
void set_cancel_test(bool (*is_cancelled)() noexcept) noexcept;
// Everybody who sleeps asks again.
void wake_all() noexcept;

// ---------------------------------------------------------------- numbers
// What says whether a number stands for a socket in this process. Asked of sockets that are on both sides.
void set_number_test(bool (*stands_for)(int fd, const Socket& socket) noexcept) noexcept;

// ---------------------------------------------------------------- signals
// The shim wraps the program's signal handlers. While a thread is inside the stack a handler must not run (it might call us): the wrapper asks
// defer_signal(); when true it must only remember the signal, and run it from the function given to set_deferred_runner, which is called at the first safe
// moment. When false it runs the handler at once and then says what kind it was with note_handled_signal, so that a blocked call of this thread ends in EINTR
// or goes on.
bool defer_signal() noexcept;
void note_handled_signal(bool restarts) noexcept;     // SA_RESTART was set
// The shim waits itself, in place of a call that a handler interrupts: from here on; and whether the handler that ran ends the call.
void begin_outer_wait() noexcept;
bool ends_outer_wait(bool restartable) noexcept;
std::uint32_t handled_signals() noexcept;             // how many handlers have run in this thread
void set_deferred_runner(void (*run)() noexcept) noexcept;

}  // namespace shunt::socket
