// What a running script has: the stack, its descriptors and connections, its settings.
#pragma once

#include <netinet/in.h>

#include <deque>
#include <map>
#include <string>

#include "packetdrill/calls.hpp"
#include "packetdrill/flow.hpp"
#include "packetdrill/script.hpp"
#include "packetdrill/world.hpp"

namespace shunt::packetdrill {

struct Settings {
    Duration tolerance = std::chrono::milliseconds(4);
    std::uint32_t remote = 0xC0000201;       // 192.0.2.1
    std::uint16_t bind_port = 8080, connect_port = 8080;
    std::uint16_t mtu = 1500;
    bool strict_segments = false;            // what the script has in one piece must come so
    bool same_port = false;                  // ours: every SYN from the wire comes from the same port
};

struct Session {
    Session(World& on, const Settings& with) : world(on), calls(on), settings(with) {}

    int live_fd(int script_fd, int line) const;
    Flow& add_flow(std::uint8_t protocol, std::uint16_t local_port, std::uint16_t remote_port);
    Flow* find_flow(const LivePacket& packet);  // the one a packet of the stack's belongs to

    World& world;
    Time start = world.now();
    Calls calls;
    Settings settings;
    std::map<int, int> fds;                  // the script's -> the stack's
    std::map<int, std::uint16_t> ports;      // bound, by the stack's descriptor
    std::uint16_t listening_port = 0;
    std::deque<Flow> flows;
    Flow* current = nullptr;                 // whom packets from the wire are for
    std::uint16_t next_port = 40001;
};

// Carries a call out and throws ScriptError when its result is another than the script's. May block.
void run_call(Session& session, const SystemCall& call, int line);
bool is_known_call(const std::string& name);
// What differs between the control messages of the script, [{cmsg_level=...}, ...], and those received; empty when nothing does. Time stamps count from the
// script's beginning, with `tolerance`.
std::string compare_control(const Expression& expected, msghdr& actual, Time start, Duration tolerance);
// The statements of %{ }%; throws ScriptError when an assertion does not hold. `fd`: whose TCP_INFO.
void run_code(Calls& calls, int fd, const std::string& code, int line);
// `sysctl ...`, `echo 1 > /proc/sys/...`, `set_sysctls.py ...`
void run_command(World& world, const std::string& command, int line);
// Throws ScriptError at the first thing that is not as the script says.
void run_script(const Script& script);

}  // namespace shunt::packetdrill
