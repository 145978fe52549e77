#include "differential/calls.hpp"

namespace differential {
namespace {

using namespace kinds;
constexpr bool blocks = true, never = false;
constexpr unsigned streams = tcp_open | pair;

Argument in(Kind kind) { return {kind, 0}; }
Argument at(unsigned roles) { return {slot, roles}; }
Argument to(unsigned roles = empty | any_role) { return {slot, roles}; }  // what it held is closed


}  // namespace

// Made at the first call: the kinds are there by then.
std::span<const Operation> operations() {
    static const Operation table[] = {
        {"socket", 30, never, {to(empty), in(domain), in(type), in(socket_flags)}, calls::make_socket},
        {"pipe", 3, never, {to(empty), to(empty)}, calls::make_pipe},
        {"socketpair", 3, never, {to(empty), to(empty), in(pair_type)}, calls::make_pair},
        {"eventfd", 3, never, {to(empty), in(event_value), in(event_flags)}, calls::make_event, false, event},
        {"timerfd", 2, never, {to(empty)}, calls::make_timer, false, timer},
        {"file", 2, never, {to(empty), in(file_size)}, calls::make_file, false, file},
        {"epoll", 6, never, {to(empty)}, calls::make_epoll, false, epoll},
        {"bind", 16, never, {at(tcp_fresh | udp), in(host), in(port), in(name_length)}, calls::bind_to},
        {"listen", 10, never, {at(tcp_fresh | tcp_bound | listener), in(backlog)}, calls::listen_on},
        {"accept", 14, blocks, {at(listener), to(empty), in(name_length), in(socket_flags)}, calls::accept_from},
        {"connect", 22, blocks, {at(tcp_fresh | tcp_bound | tcp_failed | udp), in(destination), in(name_length)}, calls::connect_to},
        {"shutdown", 12, never, {at(tcp_open | listener | udp_bound), in(how)}, calls::shut_down},
        {"getsockname", 5, never, {at(any_socket), in(name_length)}, calls::local_name},
        {"getpeername", 5, never, {at(any_socket), in(name_length)}, calls::peer_name},
        {"dup", 6, never, {at(any_role), to(empty)}, calls::duplicate},
        {"dup2", 2, never, {at(any_role), at(any_role)}, calls::duplicate_onto},
        {"close", 12, never, {at(any_role)}, calls::close_slot},
        {"fcntl", 5, never, {at(any_socket), in(descriptor_flags)}, calls::set_descriptor_flags},
        {"send", 30, blocks, {at(streams | udp), in(size), in(send_flags)}, calls::send_some, true},
        {"sendto", 22, blocks, {at(udp), in(size), in(send_flags), in(destination), in(name_length)}, calls::send_to, true},
        {"write", 8, blocks, {at(streams | pipe_out | event), in(size)}, calls::write_some, true},
        {"writev", 6, blocks, {at(streams | udp | pipe_out), in(shape)}, calls::write_pieces, true},
        {"sendmsg", 14, blocks, {at(streams | udp), in(shape), in(send_flags), in(destination)}, calls::send_message, true},
        {"sendmmsg", 6, blocks, {at(streams | udp), in(send_flags), in(destination)}, calls::send_messages, true},
        {"recv", 40, blocks, {at(streams | udp), in(size), in(recv_flags)}, calls::receive_some},
        {"recvfrom", 16, blocks, {at(udp | tcp_open), in(size), in(recv_flags), in(name_length)}, calls::receive_from},
        {"read", 8, blocks, {at(streams | pipe_in | event | timer), in(size)}, calls::read_some},
        {"readv", 6, blocks, {at(streams | udp | pipe_in), in(shape)}, calls::read_pieces},
        {"recvmsg", 16, blocks, {at(streams | udp), in(shape), in(recv_flags)}, calls::receive_message},
        {"recvmmsg", 6, blocks, {at(udp | tcp_open), in(recv_flags)}, calls::receive_messages},
        {"fill", 0, never, {at(streams)}, calls::fill, true},
        {"drain", 6, never, {at(streams)}, calls::drain},
        {"splice", 4, blocks, {at(pipe_in | tcp_open), at(pipe_out | tcp_open), in(size), in(splice_flags)}, calls::splice_some, true},
        {"sendfile", 3, blocks, {at(tcp_open), at(file), in(size)}, calls::send_file, true},
        {"setsockopt", 10, never, {at(inet), in(option), in(option_value), in(option_length)}, calls::set_option},
        {"getsockopt", 10, never, {at(inet), in(option), in(option_length)}, calls::get_option},
        {"ioctl", 8, never, {at(inet), in(control)}, calls::control_socket},
        {"epoll_ctl", 22, never, {at(epoll), in(epoll_operation), at(any_role), in(epoll_events)}, calls::change_epoll},
        {"epoll_wait", 20, blocks, {at(epoll), in(count), in(timeout)}, calls::wait_epoll},
        {"select", 3, never, {}, calls::select_all},
        {"poll", 3, blocks, {at(any_role), in(epoll_events), in(timeout)}, calls::poll_one},
        // Of the main thread with a worker: see player.cpp.
        {"join", 0, never, {in(worker)}, nullptr},
        {"signal", 0, never, {in(worker), in(signal)}, nullptr},
        {"fork", 0, never, {}, nullptr},
        {"end_child", 0, never, {}, nullptr},
    };
    return table;
}

}  // namespace differential
