#include "simulator/scenario.hpp"

#include <fmt/core.h>

#include <deque>

#include "simulator/talker.hpp"
#include "simulator/trace.hpp"
#include "simulator/watch.hpp"
#include "tcp/congestion.hpp"

namespace shunt::simulator {
namespace {

constexpr std::uint16_t port = 80;
constexpr Duration patience = 2h;        // for what must succeed
constexpr Duration last_wait = 1h;       // until TIME_WAIT and orphans are gone

enum class Kind { plain, reset, restart, simultaneous_open };

struct Flow {
    Talker client, server;
    std::uint16_t client_port = 0;   // as the connection has it
    Seq client_iss{};
    Time opens_at{};
    bool is_open = false;
    bool must_succeed = true;
    bool is_simultaneous = false;
};

class Scenario {
public:
    Scenario(std::uint64_t seed, const Overrides& overrides) : random_(spread(seed, 99)), overrides_(overrides), network_(seed) {
        choose_stations();
        choose_flows();
    }
    void run();
    void add_to(Tally& tally);

private:
    bool chance(unsigned of_hundred) { return random_.below(100) < of_hundred; }
    Duration between(Duration low, Duration high) { return low + Duration(random_.below(static_cast<std::uint32_t>((high - low).count() / 1000)) * 1000); }
    std::size_t some_bytes();
    WireSpec choose_wire(bool is_bad);
    StationSetup choose_setup();
    void choose_stations();
    void choose_flows();
    void add_flow(Time opens_at, bool may_close_at_once);
    TalkerPlan choose_plan();
    tcp::ConnectionOptions choose_options();
    void watch();
    void listen(unsigned station);
    void step();
    void open(Flow& flow);
    void accept(unsigned station);
    void restart();
    bool is_settled() const;
    void judge();

    Random random_;
    Overrides overrides_;
    Network network_;
    Watch watch_;
    std::deque<Flow> flows_;
    std::array<tcp::Listener*, stations_max> listeners_{};
    Kind kind_ = Kind::plain;
    Time restart_at_ = never;
    unsigned restarted_ = 0;
    std::uint64_t streams_ = 0;
};

std::size_t Scenario::some_bytes() {
    if (overrides_.bytes) {
        return *overrides_.bytes;
    }
    return chance(10) ? 0 : random_.below(2U << random_.below(16));
}

WireSpec Scenario::choose_wire(bool is_bad) {
    WireSpec wire;
    wire.delay = between(10us, chance(20) ? 80ms : 2ms);
    if (chance(50)) {
        wire.rate_bps = 1'000'000ULL << random_.below(8);
        wire.buffer_bytes = chance(30) ? 4'000U : 10'000U << random_.below(5);
    }
    if (chance(30)) {
        wire.jitter = between(1us, wire.delay + 2us);
    }
    if (is_bad) {
        wire.loss = chance(60) ? random_.below(100) * 0.001 : 0;
        wire.burst = chance(20) ? random_.below(10) * 0.001 : 0;
        wire.burst_frames = 1 + random_.below(8);
        wire.duplicate = chance(40) ? random_.below(100) * 0.001 : 0;
        wire.corrupt = chance(40) ? random_.below(30) * 0.001 : 0;
        wire.reorder = chance(50) ? random_.below(chance(20) ? 400 : 60) * 0.001 : 0;
        wire.reorder_by = between(1us, 2 * wire.delay + 10us);
    }
    wire.mtu = chance(8) ? static_cast<std::uint16_t>(600 + random_.below(900)) : std::uint16_t{0};
    wire.loss = overrides_.loss.value_or(wire.loss);
    wire.reorder = overrides_.reorder.value_or(wire.reorder);
    wire.duplicate = overrides_.duplicate.value_or(wire.duplicate);
    wire.corrupt = overrides_.corrupt.value_or(wire.corrupt);
    return wire;
}

StationSetup Scenario::choose_setup() {
    StationSetup setup;
    Tunables& t = setup.tunables;
    t.tcp_sack = chance(85);
    t.tcp_timestamps = chance(80);
    t.tcp_window_scaling = chance(85);
    t.tcp_ecn = static_cast<std::int32_t>(random_.below(3));
    t.tcp_early_retrans = chance(85) ? 3 : 0;
    t.tcp_syn_retries = t.tcp_synack_retries = t.tcp_orphan_retries = 20;  // the wire is meant to be bad; giving up is not what we look for
    t.tcp_slow_start_after_idle = chance(70);
    constexpr std::array algorithms{CongestionControl::cubic, CongestionControl::reno, CongestionControl::bbr};
    t.tcp_congestion_control = tcp::congestion::available(algorithms[random_.below(algorithms.size())]);
    if (chance(25)) {
        t.tcp_rmem = {4096, static_cast<std::int32_t>(4096 << random_.below(4)), 32768};
        t.tcp_wmem = {4096, 4096, static_cast<std::int32_t>(4096 << random_.below(4))};
    }
    constexpr std::array<std::uint16_t, 5> mtus{1500, 1500, 1500, 1280, 576};
    setup.mtu = mtus[random_.below(mtus.size())];
    t.tcp_rto_min_us = chance(70) ? 200'000 : 5'000;
    setup.key = random_.next();
    setup.has_card = setup.key % 3 == 0;
    setup.lan_rto_min = setup.key % 5 == 0 ? 1ms : 0ms;
    return setup;
}

void Scenario::choose_stations() {
    const unsigned count = chance(80) ? 2 : 3;
    const bool is_bad = chance(85);
    for (unsigned i = 0; i < count; ++i) {
        const WireSpec up = choose_wire(is_bad);
        network_.add(choose_setup(), up, WireSpec{});
    }
    network_.introduce();
    for (unsigned i = 0; i < count; ++i) {
        listen(i);
    }
}

TalkerPlan Scenario::choose_plan() {
    TalkerPlan plan;
    plan.stream = ++streams_;
    plan.to_write = some_bytes();
    plan.is_lazy = chance(30);
    plan.write_max = chance(30) ? 300 : 20'000;
    plan.read_max = chance(20) ? 500 : 30'000;
    if (chance(15)) {
        plan.stall_at = network_.now() + between(0us, 200ms);
        plan.stall = between(1ms, chance(20) ? 90s : 3s);
    }
    return plan;
}

void Scenario::add_flow(Time opens_at, bool may_close_at_once) {
    TalkerPlan client = choose_plan(), server = choose_plan();
    client.peer_stream = server.stream;
    server.peer_stream = client.stream;
    if (may_close_at_once && chance(25)) {  // who closes at once reads nothing, so nothing must come
        TalkerPlan& hasty = chance(50) ? client : server;
        hasty.ending = Ending::at_once;
        (&hasty == &client ? server : client).to_write = 0;
    }
    const unsigned from = random_.below(network_.size());
    const unsigned to = (from + 1 + random_.below(network_.size() - 1)) % network_.size();
    flows_.push_back({Talker(network_, from, client, random_.next()), Talker(network_, to, server, random_.next())});
    flows_.back().opens_at = opens_at;
    network_.wake_at(opens_at);
}

void Scenario::choose_flows() {
    kind_ = chance(70) ? Kind::plain : chance(40) ? Kind::reset : chance(50) ? Kind::restart : Kind::simultaneous_open;
    const unsigned count = kind_ == Kind::simultaneous_open ? 1 : chance(70) ? 1 : 1 + random_.below(4);
    for (unsigned i = 0; i < count; ++i) {
        add_flow(network_.now() + (i == 0 ? 0us : between(0us, 500ms)), true);
    }
    Flow& first = flows_.front();
    if (kind_ == Kind::reset) {
        (chance(50) ? first.client : first.server).plan.ending = Ending::reset;
        Talker& cutter = first.client.plan.ending == Ending::reset ? first.client : first.server;
        cutter.plan.reset_at = network_.now() + between(0us, chance(30) ? 2s : 60ms);
        network_.wake_at(cutter.plan.reset_at);
        first.must_succeed = false;
    } else if (kind_ == Kind::restart) {
        restart_at_ = network_.now() + between(0us, chance(30) ? 2s : 60ms);
        restarted_ = chance(50) ? first.client.station() : first.server.station();
        network_.wake_at(restart_at_);
    }
    first.is_simultaneous = kind_ == Kind::simultaneous_open;
}

tcp::ConnectionOptions Scenario::choose_options() {
    tcp::ConnectionOptions options;
    options.nodelay = chance(50);
    options.quickack = chance(10);
    options.keepalive = chance(20);
    options.keepidle_s = static_cast<std::uint16_t>(1 + random_.below(5));
    return options;
}

void Scenario::listen(unsigned station) {
    auto listener = network_.station(station).tcp().listen(0, port, 8, choose_options(), false);
    if (!listener) {
        throw Violation("listen() failed");
    }
    listeners_[station] = *listener;
    listeners_[station]->owner = this;
}

void Scenario::open(Flow& flow) {
    const auto connect = [&](Talker& talker, const Talker& peer, std::uint16_t local, std::uint16_t remote) {
        const auto c = network_.station(talker.station()).tcp().connect(0, local, network_.station(peer.station()).address(), remote, choose_options(), network_.now());
        if (!c) {
            throw Violation(fmt::format("connect() failed with {}", code_of(c.error())));
        }
        talker.take(*c);
        return *c;
    };
    flow.is_open = true;
    if (flow.is_simultaneous) {
        flow.client_port = connect(flow.client, flow.server, 1001, 1002)->local_port;
        connect(flow.server, flow.client, 1002, 1001);
    } else {
        const tcp::Connection* c = connect(flow.client, flow.server, flow.client_port, port);
        flow.client_port = c->local_port;
        flow.client_iss = c->iss;
    }
}

void Scenario::accept(unsigned station) {
    while (tcp::Connection* c = network_.station(station).tcp().accept(*listeners_[station])) {
        Flow* found = nullptr;
        for (Flow& flow : flows_) {
            const bool is_theirs = network_.station(flow.client.station()).address() == c->remote_address && flow.client_port == c->remote_port && flow.client_iss == c->irs;
            if (is_theirs && flow.is_open && flow.server.station() == station && !flow.server.was_opened()) {
                found = &flow;
            }
        }
        if (found == nullptr) {  // its program is gone
            c->owner = this;
            network_.station(station).tcp().release(*c, false, network_.now());
        } else {
            found->server.take(c);
        }
    }
}

// A machine goes down and comes back; a client on it calls again from the same port, as if nothing had been.
void Scenario::restart() {
    restart_at_ = never;
    for (Flow& flow : flows_) {
        for (Talker* talker : {&flow.client, &flow.server}) {
            if (talker->station() == restarted_) {
                talker->lose_connection();
            }
        }
    }
    network_.restart(restarted_);
    watch_.forget(network_.station(restarted_));
    listen(restarted_);
    const std::size_t before = flows_.size();
    for (std::size_t i = 0; i < before; ++i) {
        const bool was_client = flows_[i].client.station() == restarted_;
        if (!was_client && flows_[i].server.station() != restarted_) {
            continue;
        }
        flows_[i].must_succeed = false;
        if (was_client && flows_[i].is_open && chance(70)) {
            TalkerPlan client = choose_plan(), server = choose_plan();
            client.peer_stream = server.stream;
            server.peer_stream = client.stream;
            flows_.push_back({Talker(network_, restarted_, client, random_.next()), Talker(network_, flows_[i].server.station(), server, random_.next())});
            flows_.back().client_port = flows_[i].client_port;
            flows_.back().opens_at = network_.now() + between(0us, 100ms);
            network_.wake_at(flows_.back().opens_at);
        }
    }
}

void Scenario::step() {
    const Time now = network_.now();
    if (now >= restart_at_) {
        restart();
    }
    for (unsigned i = 0; i < network_.size(); ++i) {
        accept(i);
    }
    for (Flow& flow : flows_) {
        if (!flow.is_open && now >= flow.opens_at) {
            open(flow);
        }
        flow.client.step();
        flow.server.step();
    }
    network_.collect();
    for (unsigned i = 0; i < network_.size(); ++i) {
        watch_.check(network_.station(i), now);
    }
}

bool Scenario::is_settled() const {
    for (const Flow& flow : flows_) {
        const bool is_yet_to_come = !flow.is_open || (flow.must_succeed && !flow.server.was_opened());
        if (is_yet_to_come || flow.client.is_open() || flow.server.is_open()) {
            return false;
        }
    }
    return restart_at_ == never;
}

// What had to arrive has arrived, and each checksum was good that no wire has spoilt.
void Scenario::judge() {
    for (unsigned i = 0; network_.corrupted() == 0 && i < network_.size(); ++i) {
        if (network_.station(i).drops(DropReason::tcp_bad_checksum) != 0) {
            throw Violation("a segment was sent with a wrong checksum");
        }
    }
    for (const Flow& flow : flows_) {
        const auto complain = [&](const Talker& talker, const char* who, const char* what) {
            throw Violation(fmt::format("{} of the flow from port {}: {} (wrote {} of {}, read {}, error {}, end seen: {})", who, flow.client_port, what, talker.written(),
                                        talker.plan.to_write, talker.read(), talker.error(), talker.saw_end()));
        };
        if (!flow.must_succeed) {
            continue;
        }
        for (const Talker* talker : {&flow.client, &flow.server}) {
            const Talker& peer = talker == &flow.client ? flow.server : flow.client;
            const char* who = talker == &flow.client ? "client" : "server";
            if (!talker->has_finished()) {
                complain(*talker, who, "did not finish");
            }
            if (talker->plan.ending != Ending::at_once && talker->read() != peer.plan.to_write) {
                complain(*talker, who, "did not read all that its peer had written");
            }
        }
    }
}

void Scenario::watch() {
    network_.on_sent = [this](unsigned, const Bytes& frame) { watch_.on_sent(frame); };
    if (overrides_.trace) {
        print_frames(network_);
    }
}

void Scenario::run() {
    watch();
    const bool finished = network_.run(patience, [this] { return is_settled(); }, [this] { step(); });
    if (!finished) {  // who waits for a peer that is gone, without keep-alive, would wait for ever
        for (Flow& flow : flows_) {
            flow.client.give_up();
            flow.server.give_up();
        }
    }
    judge();
    const auto used = [this] {
        std::uint32_t sum = 0;
        for (unsigned i = 0; i < network_.size(); ++i) {
            sum += network_.station(i).tcp().connections_used();
        }
        return sum;
    };
    network_.run(last_wait, [&] { return used() == 0; }, [this] { step(); });
    if (used() != 0) {
        std::string left;
        for (unsigned i = 0; i < network_.size(); ++i) {
            network_.station(i).tcp().for_each_connection([&](const tcp::Connection& c) { left += "\n    " + describe(c); });
        }
        throw Violation(fmt::format("{} connections are left when all have closed{}", used(), left));
    }
}

void Scenario::add_to(Tally& tally) {
    ++tally.scenarios;
    tally.flows += flows_.size();
    tally.resets += kind_ == Kind::reset;
    tally.restarts += kind_ == Kind::restart;
    tally.simultaneous += kind_ == Kind::simultaneous_open;
    for (const Flow& flow : flows_) {
        tally.bytes += flow.client.read() + flow.server.read();
    }
    for (unsigned i = 0; i < network_.size(); ++i) {
        const Wire::Counters& wire = network_.to_switch(i).counters;
        tally.frames += wire.frames;
        tally.lost += wire.lost + wire.overflowed;
        tally.corrupted += wire.corrupted;
        tally.reordered += wire.reordered;
        tally.duplicated += wire.duplicated;
        Station& station = network_.station(i);
        tally.retransmits += station.events(Event::tcp_retransmits);
        tally.timeouts += station.events(Event::tcp_timeouts);
        tally.probes += station.events(Event::tcp_tail_loss_probes);
        tally.window_probes += station.events(Event::tcp_zero_window_probes);
    }
}

}  // namespace

void run_scenario(std::uint64_t seed, const Overrides& overrides, Tally& tally) {
    { const Station first(0, {}); }  // opens the pool, the first time
    const std::uint32_t free_before = Station::packets_free();
    {
        Scenario scenario(seed, overrides);
        scenario.run();
        scenario.add_to(tally);
    }
    if (const std::uint32_t left = Station::packets_free(); left != free_before) {
        throw Violation(fmt::format("{} packets were free before, {} are now: lost, or freed twice", free_before, left));
    }
}

}  // namespace shunt::simulator
