// A script from its first line to its last, in virtual time.
#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <thread>

#include "packetdrill/session.hpp"
#include "wire/ipv4.hpp"
#include "wire/tcp.hpp"

namespace shunt::packetdrill {
namespace {

namespace flag = wire::tcp_flag;
using namespace std::chrono_literals;

double in_seconds(Duration d) { return static_cast<double>(count_us(d)) / 1e6; }

std::string shown_time(Duration d) { return fmt::format("{:.6f}", in_seconds(d)); }

// A call that blocks, on a thread of its own.
class BlockedCall {
public:
    BlockedCall(Session& session, const SystemCall& call, int line) : world_(session.world), line_(line) {
        world_.begin_call();
        thread_ = std::thread([this, &session, &call] {
            world_.adopt_call();
            try {
                run_call(session, call, line_);
            } catch (const ScriptError& error) {
                error_ = error;
            }
            ended_ = world_.now();
            world_.end_call();
        });
        world_.wait_until_idle();
        world_.settle();
    }
    ~BlockedCall() {
        if (thread_.joinable()) {
            thread_.join();
        }
    }
    BlockedCall(const BlockedCall&) = delete;
    BlockedCall& operator=(const BlockedCall&) = delete;

    bool is_done() const { return ended_.has_value(); }
    // The result was checked in the thread; here its end is.
    Time finish() {
        thread_.join();
        if (error_) {
            throw ScriptError(*error_);
        }
        return *ended_;
    }
    int line() const { return line_; }
    Time due{};

private:
    World& world_;
    int line_;
    std::optional<Time> ended_;
    std::optional<ScriptError> error_;
    std::thread thread_;
};

class Runner {
public:
    Runner(const Script& script, Session& session) : script_(script), session_(session), world_(session.world), start_(world_.now()) {}
    ~Runner();
    Runner(const Runner&) = delete;
    Runner& operator=(const Runner&) = delete;

    void run() {
        for (const Event& event : script_.events) {
            event_ = &event;
            run_event(event);
        }
        await_call();
    }

private:
    [[noreturn]] void fail(const std::string& what) const { throw ScriptError(event_->line, what); }
    Duration since_start(Time t) const { return t - start_; }
    void run_event(const Event& event);
    void await_call();
    void call(const SystemCall& call);
    void send(const PacketSpec& spec);
    void expect(const PacketSpec& spec);
    Emission next_packet(const PacketSpec& spec, Time latest);
    Flow& flow_for(const PacketSpec& spec);
    Flow& flow_of(const LivePacket& packet);
    void check_time(Time actual, const char* what) const;

    const Script& script_;
    Session& session_;
    World& world_;
    Time start_;
    const Event* event_ = nullptr;
    Time first_{}, last_{};   // when the event shall be
    Time previous_ = start_;  // when the one before was, by the script
    std::unique_ptr<BlockedCall> blocked_;
};

// A script that failed may leave its call blocked.
Runner::~Runner() {
    if (blocked_) {
        world_.interrupt_all();
    }
}

void Runner::run_event(const Event& event) {
    const EventTime& time = event.time;
    const Time base = time.kind == EventTime::Kind::relative ? previous_ : start_;
    first_ = base + time.first;
    last_ = base + time.last;
    const bool is_any = time.kind == EventTime::Kind::any;
    if (const auto* packet = std::get_if<PacketSpec>(&event.what); packet != nullptr && !packet->is_inbound) {
        expect(*packet);
    } else {
        if (!is_any) {
            if (first_ + session_.settings.tolerance < world_.now()) {
                fail(fmt::format("the event is due at {} but the script has come to {}", shown_time(since_start(first_)), shown_time(since_start(world_.now()))));
            }
            world_.advance_to(first_);
        }
        if (packet != nullptr) {
            send(*packet);
        } else if (const auto* system_call = std::get_if<SystemCall>(&event.what)) {
            call(*system_call);
        } else if (const auto* command = std::get_if<Command>(&event.what)) {
            run_command(world_, command->text, event.line);
        } else {
            run_code(session_.calls, session_.current != nullptr ? session_.current->fd : -1, std::get<CodeBlock>(event.what).text, event.line);
        }
        if (is_any) {
            first_ = last_ = world_.now();
        }
    }
    previous_ = first_;
}

void Runner::check_time(Time actual, const char* what) const {
    const Duration tolerance = session_.settings.tolerance;
    if (event_->time.kind == EventTime::Kind::any || (actual >= first_ - tolerance && actual <= last_ + tolerance)) {
        return;
    }
    const std::string range = first_ == last_ ? shown_time(since_start(first_)) : fmt::format("{} to {}", shown_time(since_start(first_)), shown_time(since_start(last_)));
    fail(fmt::format("timing error: expected {} at {} sec but happened at {} sec; tolerance {} sec", what, range, shown_time(since_start(actual)), shown_time(tolerance)));
}

void Runner::await_call() {
    if (!blocked_) {
        return;
    }
    const Duration tolerance = session_.settings.tolerance;
    while (!blocked_->is_done() && world_.now() < blocked_->due + tolerance) {
        world_.advance_to(std::min(blocked_->due + tolerance, world_.now() + 1ms));
    }
    const int line = blocked_->line();
    if (!blocked_->is_done()) {
        throw ScriptError(line, fmt::format("the system call still blocks at {} sec", shown_time(since_start(world_.now()))));
    }
    const Time due = blocked_->due, ended = blocked_->finish();
    blocked_.reset();
    if (ended < due - tolerance || ended > due + tolerance) {
        throw ScriptError(line, fmt::format("timing error: expected system call return at {} sec but happened at {} sec; tolerance {} sec", shown_time(since_start(due)), shown_time(since_start(ended)), shown_time(tolerance)));
    }
}

void Runner::call(const SystemCall& call) {
    await_call();
    if (!call.end) {
        run_call(session_, call, event_->line);
        if (world_.is_stuck()) {
            fail("the system call blocks, and nothing will ever wake it");
        }
        world_.settle();
        return;
    }
    blocked_ = std::make_unique<BlockedCall>(session_, call, event_->line);
    blocked_->due = (event_->time.kind == EventTime::Kind::relative ? previous_ : start_) + *call.end;
    if (blocked_->is_done() && *call.end > event_->time.first) {
        await_call();
    }
}

// Where a packet from the wire belongs: a SYN opens something new, all else goes to the newest.
Flow& Runner::flow_for(const PacketSpec& spec) {
    const auto* tcp = std::get_if<TcpSpec>(&spec.content);
    const std::uint16_t local = session_.listening_port != 0 ? session_.listening_port : session_.settings.bind_port;
    const bool is_udp = std::holds_alternative<UdpSpec>(spec.content);
    Flow* current = session_.current;
    const bool is_syn = tcp != nullptr && (tcp->flags & (flag::syn | flag::ack)) == flag::syn;
    const bool is_repeated = is_syn && current != nullptr && (!current->is_passive || (current->remote_isn == tcp->seq && !current->is_closed));
    if (current != nullptr && (!is_syn || is_repeated || session_.settings.same_port)) {
        return *current;
    }
    Flow& flow = session_.add_flow(is_udp ? wire::protocol_udp : wire::protocol_tcp, local, session_.next_port++);
    flow.is_passive = true;
    session_.current = &flow;
    return flow;
}

void Runner::send(const PacketSpec& spec) {
    constexpr std::uint32_t offset = 0xffff'0000;  // the stack's numbers wrap a little later than the script's begin
    Flow& flow = flow_for(spec);
    const auto* tcp = std::get_if<TcpSpec>(&spec.content);
    if (tcp != nullptr && (tcp->flags & flag::syn) != 0 && !flow.remote_isn) {
        flow.remote_isn = tcp->seq;
        flow.remote_offset = offset;
    }
    if (tcp != nullptr && (tcp->flags & flag::rst) != 0) {
        flow.is_closed = true;
    }
    try {
        world_.inject(write_packet(spec, flow));
    } catch (const ScriptError& error) {
        fail(error.what());
    }
}

Flow& Runner::flow_of(const LivePacket& packet) {
    if (Flow* known = session_.find_flow(packet)) {
        return *known;
    }
    if (packet.protocol == wire::protocol_icmp && session_.current != nullptr) {
        return *session_.current;
    }
    fail(fmt::format("a packet of no connection of the script's: {}:{} > {}:{}", name_of_address(packet.source), packet.source_port, name_of_address(packet.destination), packet.destination_port));
}

Emission Runner::next_packet(const PacketSpec& spec, Time latest) {
    if (!world_.advance_to_packet(latest)) {
        const std::string by = latest == never ? "" : fmt::format(" by {} sec", shown_time(since_start(latest)));
        fail(fmt::format("timed out waiting for packet: expected outbound packet{}\nscript packet: {} {}", by, shown_time(since_start(first_)), spec.text));
    }
    return world_.take();
}

void Runner::expect(const PacketSpec& spec) {
    const bool is_any = event_->time.kind == EventTime::Kind::any;
    const Time latest = is_any ? never : last_ + session_.settings.tolerance;
    std::uint32_t skip = 0;
    while (true) {
        const Emission emission = next_packet(spec, latest);
        const auto live = read_packet(emission.packet);
        if (!live) {
            fail("the stack sent something that is no whole TCP, UDP or ICMP packet");
        }
        Flow& flow = flow_of(*live);
        const auto shown = [&] { return fmt::format("\nscript packet: {} {}\nactual packet: {} {}", shown_time(since_start(first_)), spec.text, shown_time(since_start(emission.at)), describe(*live, flow)); };
        const bool is_piece_of_more = !session_.settings.strict_segments && is_piece(spec, *live, flow, skip);
        const std::string differs = is_piece_of_more ? "" : compare(spec, *live, flow, skip);
        if (!differs.empty() && &flow != session_.current) {
            continue;  // of a connection that the script has done with: the tool passes over them, too
        }
        if (!differs.empty()) {
            fail("error in outbound packet: " + differs + shown());
        }
        try {
            check_time(emission.at, "outbound packet");
        } catch (const ScriptError& error) {
            fail(error.what() + shown());
        }
        if (!is_piece_of_more) {
            if (is_any || first_ != last_) {
                first_ = emission.at;
            }
            return;
        }
        skip += live->length;
    }
}

std::uint64_t number_of(const std::string& value) { return std::stoull(value, nullptr, 0); }

std::uint32_t address_of(const std::string& text) {
    in_addr address{};
    if (::inet_aton(text.c_str(), &address) == 0) {
        throw ScriptError(1, fmt::format("{} is no IPv4 address", text));
    }
    return ntohl(address.s_addr);
}

void apply_option(const std::string& name, const std::string& value, Settings& settings, WorldSetup& setup) {
    const std::map<std::string, std::function<void()>> known = {
        {"tolerance_usecs", [&] { settings.tolerance = std::chrono::microseconds(number_of(value)); }},
        {"tolerance_percent", [] {}},
        {"tcp_ts_tick_usecs", [] {}},  // our stamps are learned where they stand
        {"tcp_ts_ecr_scaled", [] {}},
        {"ip_version", [&] {
             if (value != "ipv4") {
                 throw ScriptError(1, fmt::format("--ip_version={}: only ipv4 is here", value));
             }
         }},
        {"bind_port", [&] { settings.bind_port = static_cast<std::uint16_t>(number_of(value)); }},
        {"connect_port", [&] { settings.connect_port = static_cast<std::uint16_t>(number_of(value)); }},
        {"mss", [] {}},  // how the tool's large segments were put together; here they arrive as they are
        {"mtu", [&] { setup.mtu = settings.mtu = static_cast<std::uint16_t>(number_of(value)); }},
        {"local_ip", [&] { setup.local = address_of(value); }},
        {"remote_ip", [&] { settings.remote = address_of(value); }},
        {"same_port", [&] { settings.same_port = true; }},
        {"strict_segments", [&] { settings.strict_segments = true; }},
        {"tcp_ts_tick_usecs", [] {}},
        {"verbose", [] {}},
        {"init_scripts", [] {}},
        {"send_omit_free", [] {}},
    };
    const auto found = known.find(name);
    if (found == known.end()) {
        throw ScriptError(1, fmt::format("--{} is not known", name));
    }
    found->second();
}

}  // namespace

int Session::live_fd(int script_fd, int line) const {
    const auto found = fds.find(script_fd);
    if (script_fd >= 0 && found == fds.end()) {
        throw ScriptError(line, fmt::format("the script has no descriptor {}", script_fd));
    }
    return script_fd >= 0 ? found->second : script_fd;
}

Flow& Session::add_flow(std::uint8_t protocol, std::uint16_t local_port, std::uint16_t remote_port) {
    Flow& flow = flows.emplace_back();
    flow.protocol = protocol;
    flow.local = world.setup().local;
    flow.remote = settings.remote;
    flow.local_port = local_port;
    flow.remote_port = remote_port;
    return flow;
}

Flow* Session::find_flow(const LivePacket& packet) {
    const auto fits = [&](const Flow& flow, std::uint16_t local_port) {
        return flow.protocol == packet.protocol && flow.remote == packet.destination && flow.remote_port == packet.destination_port && flow.local_port == local_port;
    };
    for (const std::uint16_t local_port : {packet.source_port, std::uint16_t{0}}) {  // one that has a port already goes before one that has sent nothing yet
        const auto found = std::find_if(flows.rbegin(), flows.rend(), [&](const Flow& flow) { return fits(flow, local_port); });
        if (found != flows.rend()) {
            found->local_port = packet.source_port;
            return &*found;
        }
    }
    return nullptr;
}

void run_script(const Script& script) {
    Settings settings;
    WorldSetup setup;
    for (const auto& [name, value] : script.options) {
        apply_option(name, value, settings, setup);
    }
    auto created = World::create(setup);
    if (!created) {
        throw ScriptError(1, created.error().message);
    }
    const std::unique_ptr<World> world(*created);
    Session session(*world, settings);
    Runner(script, session).run();
}

}  // namespace shunt::packetdrill
