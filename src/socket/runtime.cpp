#include "socket/runtime.hpp"

#include <fmt/core.h>
#include <pthread.h>
#include <sys/random.h>
#include <sys/syscall.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include "base/arena.hpp"
#include "base/sys.hpp"
#include "pmd/clock.hpp"
#include "pmd/eal.hpp"
#include "pmd/fault.hpp"
#include "pmd/invitation.hpp"
#include "pmd/port_inline.hpp"
#include "socket/guard.hpp"
#include "socket/keeper.hpp"
#include "stack/stack.hpp"

namespace shunt::socket {
namespace {

std::mutex start_mutex;
std::atomic<Stack*> started{nullptr};
std::vector<pmd::Port> ports;
Error start_error;
bool start_failed = false;

Duration spin_of(config::Profile profile) noexcept {
    switch (profile) {
        case config::Profile::latency: return std::chrono::hours(24 * 365);
        case config::Profile::balanced: return std::chrono::microseconds(50);
        case config::Profile::throughput: return Duration{};
    }
    return Duration{};
}

SecretKey random_key() noexcept {
    SecretKey key;
    while (sys::call(SYS_getrandom, sys::word(&key), sizeof key, 0) != static_cast<long>(sizeof key)) {
    }
    return key;
}

Outcome<std::vector<pmd::LinkSpec>> read_links(const config::Config& config) {
    std::vector<pmd::LinkSpec> specs;
    for (const std::string& text : config.links) {
        auto spec = pmd::parse_link_spec(text);
        if (!spec) {
            return explain(spec.error().code, fmt::format("--link {}: {}", text, spec.error().message));
        }
        specs.push_back(*spec);
    }
    return specs;
}

// In shared memory, as the ports it belongs to are used by forked children as well.
Outcome<pmd::FaultInjector*> create_faults(const std::string& text) {
    const auto options = pmd::parse_fault_options(text);
    if (!options) {
        return explain(options.error().code, fmt::format("--fault {}: {}", text, options.error().message));
    }
    auto arena = Arena::map(sizeof(pmd::FaultInjector));
    if (!arena) {
        return std::unexpected(arena.error());
    }
    return new (arena->carve(sizeof(pmd::FaultInjector), alignof(pmd::FaultInjector))) pmd::FaultInjector(*options);
}

Outcome<void> open_ports(const config::Config& config, const std::vector<pmd::LinkSpec>& specs) {
    pmd::EalOptions eal;
    eal.links = specs;
    if (config.memory_mib != 0) {
        eal.memory_mib = config.memory_mib;
    } else {
        constexpr std::uint64_t packet_bytes = 3200;  // a packet with its headers, and what DPDK loses at page borders
        eal.memory_mib = static_cast<std::uint32_t>((config.packets * packet_bytes >> 20) + 64);
    }
    if (auto done = pmd::start_eal(eal); !done) {
        return done;
    }
    for (const pmd::LinkSpec& spec : specs) {
        if (spec.kind == pmd::LinkSpec::Kind::loop) {
            continue;
        }
        pmd::PortOptions options;
        options.packets = config.packets;
        options.mtu = static_cast<std::uint16_t>(config.mtu);
        options.mac = config.mac;
        options.index = static_cast<unsigned>(ports.size());
        auto port = pmd::open_port(spec, options);
        if (!port) {
            return std::unexpected(port.error());
        }
        if (!config.faults.empty()) {
            const auto faults = create_faults(config.faults);
            if (!faults) {
                return std::unexpected(faults.error());
            }
            port->spoil_with(*faults);
        }
        ports.push_back(*port);
    }
    return {};
}

// Drivers for these open descriptors behind our back: VFIO's devices, verbs, XDP's maps and sockets.
bool have_own_descriptors(const std::vector<pmd::LinkSpec>& specs) noexcept {
    using Kind = pmd::LinkSpec::Kind;
    return std::ranges::any_of(specs, [](const pmd::LinkSpec& spec) { return spec.kind != Kind::memif && spec.kind != Kind::tap && spec.kind != Kind::loop; });
}

// Programs of one launch share a loop (the launcher names it); without a launcher a program has one for itself and what it forks.
std::string loop_name() {
    const auto launch = config::variable(config::checked_variable);
    return launch ? "shunt-loop-" + *launch : "";
}

// Who has a stack that a program with this configuration can share, by the names of their claims. Of several links each would have to be the other's.
std::vector<std::string> holders(const config::Config& config) {
    if (config.has_loop && !config.has_port()) {
        const std::string name = loop_name();
        return name.empty() ? std::vector<std::string>{} : std::vector{name};
    }
    const auto specs = read_links(config);
    return specs && specs->size() == 1 ? pmd::claim_names(specs->front()) : std::vector<std::string>{};
}

// What two programs must have in common to be one host.
std::string facts_of(const config::Config& config) {
    std::string facts = fmt::format("gateway {:x}", config.gateway.value_or(0));
    for (const config::Ipv4Prefix& prefix : config.addresses) {
        facts += fmt::format(" {:x}/{}", prefix.address_host_order, prefix.length);
    }
    return facts;
}

// What runs already, and is to be shared: mapped here, at the same addresses. Null: there is none that can be, or it
// does not answer, or it is about to leave; `is_refused`: one answered that it cannot be shared with us.
Stack* join_any(const config::Config& config, Duration silent, bool* is_refused = nullptr) {
    for (const std::string& name : holders(config)) {
        const pmd::Joined joined = pmd::join(name, facts_of(config), silent);
        auto* layer = static_cast<Layer*>(joined.stack);
        if (is_refused != nullptr) {
            *is_refused = joined.outcome == pmd::Joining::refused;
        }
        if (joined.outcome != pmd::Joining::joined) {
            continue;
        }
        if (layer->stack->has_port()) {
            pmd::become_guest(*layer->guest_queues);
        }
        set_layer(layer);
        if (enter_process(*layer)) {
            know_keeper(*layer);
            return layer->stack;
        }
        set_layer(nullptr);
        pmd::guest_queues_here = nullptr;
        pmd::undo_join();
    }
    return nullptr;
}

constexpr Duration silent_while_starting = std::chrono::seconds(1);  // a holder answers as soon as its keeper lives, some 150 ms after it has the name

constexpr std::chrono::seconds loop_patience{20};  // many may start at once, on few processors

// The loop of this launch, or the right to make it.
Outcome<Stack*> join_or_claim_loop(const config::Config& config) {
    const std::string name = loop_name();
    if (name.empty()) {
        return nullptr;
    }
    constexpr timespec pause{0, 5'000'000};
    const auto until = std::chrono::steady_clock::now() + loop_patience;
    bool is_refused = false;
    while (!is_refused && std::chrono::steady_clock::now() < until) {
        if (Stack* stack = join_any(config, silent_while_starting, &is_refused)) {
            return stack;
        }
        if (const auto claim = pmd::try_claim(name, {.silent = Duration{}}); claim) {
            pmd::keep(pmd::claims_max - 1, *claim);
            return nullptr;
        }
        sys::call(SYS_nanosleep, sys::word(&pause), 0);
    }
    return is_refused
        ? explain(EBUSY, "--link loop: another program of this launch has it, and cannot share it: it is another build or has other addresses")
        : explain(EBUSY, fmt::format("--link loop: another program of this launch has it, and does not answer for {} s", loop_patience.count()));
}

// What the keeper gives to those who join: everybody sleeps on these.
void invite(const config::Config& config, Layer& layer) {
    std::vector<int> descriptors(layer.slot_fds.begin(), layer.slot_fds.end());
    descriptors.insert(descriptors.end(), {layer.keeper_fd, layer.rx_events});
    if (layer.guest_queues == nullptr || !pmd::prepare_invitation(&layer, descriptors, facts_of(config))) {
        log::debug("this stack cannot be shared with programs that start apart: its memory has no descriptors");
    }
}

Outcome<Stack*> build(const config::Config& config) {
    if (config.has_loop && !config.has_port()) {
        if (auto joined = join_or_claim_loop(config); !joined || *joined != nullptr) {
            return joined;
        }
    } else if (Stack* stack = join_any(config, silent_while_starting)) {
        return stack;
    }
    const Belongings belongings = take_stock();
    if (auto complete = config::check_complete(config); !complete) {
        return std::unexpected(complete.error());
    }
    const auto specs = read_links(config);
    if (!specs) {
        return std::unexpected(specs.error());
    }
    if (auto done = open_ports(config, *specs); !done) {
        return std::unexpected(done.error());
    }
    std::vector<Ipv4Address> addresses;
    for (const config::Ipv4Prefix& prefix : config.addresses) {
        // The n-th address belongs to the n-th port; without a port it is reached from here alone.
        const auto link = ports.empty() ? Ipv4Address::no_link : static_cast<std::uint8_t>(std::min(addresses.size(), ports.size() - 1));
        addresses.push_back({prefix.address_host_order, prefix.length, link});
    }
    const pmd::TscClock clock = pmd::TscClock::calibrated();
    StackOptions options;
    options.ports = ports;
    options.owns_loopback = config.has_loop;
    const auto packet_source = ports.empty() ? pmd::open_packet_source(config.packets) : Outcome<pmd::Port>(ports[0]);
    if (!packet_source) {
        return std::unexpected(packet_source.error());
    }
    options.packet_source = &*packet_source;
    options.addresses = addresses;
    options.gateway = config.gateway.value_or(0);
    options.tunables = config.tunables;
    options.lan_rto_min = config.profile == config::Profile::latency ? std::chrono::milliseconds(1) : Duration{};
    options.key = random_key();
    options.connections_max = config.connections;
    options.extra_bytes = layer_bytes(config.connections);
    auto stack = Stack::create(options, clock.now());
    if (!stack) {
        return stack;
    }
    Layer* layer = create_layer(**stack, clock, spin_of(config.profile), config.connections);
    std::ranges::transform(interfaces_of(config), layer->interface_indices.begin(), &Interface::index);
    set_layer(layer);
    enter_process(*layer);
    layer->guest_queues = pmd::create_guest_queues();
    invite(config, *layer);
    if (auto born = start_keeper(*layer, belongings, !have_own_descriptors(*specs)); !born) {
        return std::unexpected(born.error());
    }
    return stack;
}

}  // namespace

Runtime& Runtime::instance() noexcept {
    static Runtime runtime;
    return runtime;
}

Outcome<void> Runtime::configure() {
    if (configured_) {
        return {};
    }
    auto config = config::from_environment();
    if (!config) {
        return std::unexpected(config.error());
    }
    configure(*config);
    return {};
}

void Runtime::configure(const config::Config& config) {
    config_ = config;
    configured_ = true;
    active_ = !config_.links.empty();
    interfaces_ = interfaces_of(config_);
    log::set_threshold(config_.log);
    rules_ = config::rules_for(config_.rules, program_invocation_short_name, config::program_path());
    for (const config::Rule& rule : rules_) {
        reasons_.push_back(fmt::format("the rule \"{}\" says so", rule.text));
    }
    for (const std::string& warning : config_.warnings) {
        log::warning("{}", warning);
    }
}

Outcome<Stack*> Runtime::stack() {
    if (Stack* stack = started.load(std::memory_order_acquire)) {
        return stack;
    }
    const std::scoped_lock lock(start_mutex);
    if (Stack* stack = started.load(std::memory_order_relaxed)) {
        return stack;
    }
    if (start_failed) {
        return std::unexpected(start_error);
    }
    auto stack = build(config_);
    if (!stack) {
        start_failed = true;
        start_error = stack.error();
        return stack;
    }
    started.store(*stack, std::memory_order_release);
    return stack;
}

bool Runtime::join() noexcept {
    if (is_started()) {
        return true;
    }
    const std::scoped_lock lock(start_mutex);
    if (started.load() == nullptr) {
        started.store(join_any(config_, silent_while_starting), std::memory_order_release);
    }
    return is_started();
}

bool Runtime::is_started() const noexcept {
    return started.load(std::memory_order_acquire) != nullptr;
}

bool Runtime::owns(std::uint32_t address) const noexcept {
    return (config_.has_loop && wire::is_loopback(address)) ||
           std::any_of(config_.addresses.begin(), config_.addresses.end(), [&](const config::Ipv4Prefix& prefix) { return prefix.address_host_order == address; });
}

bool Runtime::hears_all_at(std::uint32_t broadcast) const noexcept {
    return config_.has_port() && std::any_of(config_.addresses.begin(), config_.addresses.end(), [&](const config::Ipv4Prefix& prefix) { return prefix.broadcast() == broadcast; });
}

bool Runtime::reaches(std::uint32_t address, bool is_v6) const noexcept {
    if (address == 0 || wire::is_loopback(address)) {  // to 0.0.0.0 is to 127.0.0.1; to :: is to ::1
        return config_.has_loop && (address != 0 || !is_v6);
    }
    if (wire::is_multicast(address)) {
        return false;
    }
    if (!config_.has_port()) {
        return owns(address);
    }
    return config_.gateway.has_value() ||
           std::any_of(config_.addresses.begin(), config_.addresses.end(), [&](const config::Ipv4Prefix& prefix) { return prefix.contains(address); });
}

// Of a socket that would not be the kernel's anyway.
Decision Runtime::ask_rules(const config::Question& question, Decision otherwise) const noexcept {
    const config::Rule* rule = otherwise.side == Decision::Side::kernel ? nullptr : config::first_match(rules_, question);
    return rule != nullptr && rule->is_for_kernel ? Decision{Decision::Side::kernel, reasons_[static_cast<std::size_t>(rule - rules_.data())].c_str(), true} : otherwise;
}

Decision Runtime::decide_bind(bool is_tcp, const sockaddr* address, socklen_t length) const noexcept {
    using Side = Decision::Side;
    if (!active_) {
        return {Side::kernel, "no link is configured"};
    }
    const bool is_v6 = address != nullptr && length >= sizeof(sa_family_t) && address->sa_family == AF_INET6;
    const auto where = read_address(address, length, is_v6);
    if (!where) {
        return {Side::kernel, "the address is not IPv4"};
    }
    const config::Question question{is_tcp, config::End::local, where->address, where->port};
    if (where->address == 0) {
        return ask_rules(question, {Side::both, "bound to every address"});
    }
    if (!is_tcp && hears_all_at(where->address)) {
        return ask_rules(question, {Side::ours, "it is to hear a broadcast address of Shunt's"});
    }
    return ask_rules(question, owns(where->address) ? Decision{Side::ours, "the address is Shunt's"} : Decision{Side::kernel, "the address is not one of Shunt's"});
}

Decision Runtime::decide_peer(bool is_tcp, const sockaddr* address, socklen_t length) const noexcept {
    using Side = Decision::Side;
    if (!active_) {
        return {Side::kernel, "no link is configured"};
    }
    const bool is_v6 = address != nullptr && length >= sizeof(sa_family_t) && address->sa_family == AF_INET6;
    const auto to = read_address(address, length, is_v6);
    if (!to) {
        return {Side::kernel, "the peer's address is not IPv4"};
    }
    return ask_rules({is_tcp, config::End::peer, to->address, to->port},
                     reaches(to->address, is_v6) ? Decision{Side::ours, "the route is Shunt's"} : Decision{Side::kernel, "no route of Shunt's leads to the peer"});
}

// What the program has written is still on its way, and the keeper sees to it. Where that was killed, and nobody has come after it: wait until the peers have it, as long as the link is
// up and something moves.
void Runtime::finish() noexcept {
    if (!is_started() || is_keeper_alive()) {
        return;
    }
    constexpr Duration patience = std::chrono::seconds(3);
    Layer& layer = socket::layer();
    Guard guard(layer);
    const Time start = layer.now();
    while (layer.now() - start < patience) {
        layer.stack->poll(layer.now());
        const bool is_up = std::all_of(layer.stack->links().begin(), layer.stack->links().end(), [](const Link* link) { return link->port.is_link_up(); });
        if (!is_up || layer.stack->tcp().orphans_with_data() == 0) {
            break;
        }
        guard.yield();
        const timespec nap{0, 50'000};
        sys::call(SYS_nanosleep, sys::word(&nap), 0);
    }
    dispatch(layer);
}

void Runtime::after_fork_in_child() noexcept {
    this_thread().tid = static_cast<std::uint32_t>(sys::gettid());
    this_thread().is_inside = false;
}

}  // namespace shunt::socket
