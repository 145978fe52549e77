// The calls, one function each: arguments as numbers (see the kinds of plan.cpp) to a result, an errno and what else the call said.
#pragma once

#include "differential/world.hpp"

namespace differential::calls {

using Run = void(World&, const long*, Outcome&);

// calls_life.cpp: what makes, names and ends descriptors
Run make_socket, make_pipe, make_pair, make_event, make_timer, make_file, bind_to, listen_on, accept_from, connect_to, shut_down, local_name, peer_name, duplicate, duplicate_onto,
    close_slot, set_descriptor_flags;
// calls_data.cpp: what sends and receives
Run send_some, send_to, write_some, write_pieces, send_message, send_messages, receive_some, receive_from, read_some, read_pieces, receive_message, receive_messages, fill, drain, splice_some, send_file;
// calls_state.cpp: options, questions, readiness
Run set_option, get_option, control_socket, make_epoll, change_epoll, wait_epoll, select_all, poll_one;

// A socket address as a call wants it: null, or with another family.
struct Target {
    sockaddr_in name{};
    socklen_t length = sizeof(sockaddr_in);
    bool is_null = false;
    const sockaddr* get() const { return is_null ? nullptr : reinterpret_cast<const sockaddr*>(&name); }
};
// The length that a call is told, of kinds::name_length.
inline socklen_t length_of(long name_length) { return name_length == -1 ? sizeof(sockaddr_in) : static_cast<socklen_t>(name_length == -2 ? -1 : name_length); }
Target target_of(const World& world, long destination);

}  // namespace differential::calls
