#include "simulator/bulk.hpp"

#include <algorithm>
#include <array>
#include <cstdio>

#include "simulator/trace.hpp"
#include "simulator/watch.hpp"

namespace shunt::simulator {
namespace {

constexpr std::uint16_t port = 80;
constexpr unsigned steps_a_check = 256;  // a check costs as much as the window is long
constexpr Duration detail_every = 500ms;

class Bulk {
public:
    explicit Bulk(const BulkSetup& setup);
    std::vector<BulkResult> run();

private:
    struct End {
        tcp::Connection* sender = nullptr;
        tcp::Connection* receiver = nullptr;
        std::uint16_t port = 0;
        std::uint64_t written = 0;
        bool is_open = false;
    };
    bool is_done() const;
    void step();
    void open(unsigned index);
    void accept();
    void write(unsigned index);
    void read(unsigned index);
    void print();
    void print_silence();

    const BulkSetup& setup_;
    Network network_;
    unsigned receiver_;
    std::vector<End> ends_;
    std::vector<BulkResult> results_;
    tcp::Listener* listener_ = nullptr;
    std::uint64_t steps_ = 0;
    Time print_at_{};
    Time last_sent_ = beginning;
};

Bulk::Bulk(const BulkSetup& setup) : setup_(setup), network_(setup.seed), receiver_(static_cast<unsigned>(setup.flows.size())), ends_(receiver_), results_(receiver_) {
    StationSetup station;
    station.tunables = setup.tunables;
    for (unsigned i = 0; i < receiver_; ++i) {
        station.key = spread(setup.seed, 1000 + i);
        WireSpec own;
        own.delay = setup.flows[i].extra_delay;
        network_.add(station, own, own);
        network_.wake_at(beginning + setup.flows[i].starts_after);
    }
    WireSpec back;
    back.delay = setup.bottleneck.delay;
    network_.add(station, back, setup.bottleneck);
    network_.introduce();
    listener_ = *network_.station(receiver_).tcp().listen(0, port, 64, {}, false);
    listener_->owner = this;
}

bool Bulk::is_done() const {
    return std::ranges::all_of(results_, [](const BulkResult& each) { return each.is_complete; });
}

void Bulk::open(unsigned index) {
    tcp::ConnectionOptions options;
    options.congestion = setup_.flows[index].algorithm;
    End& end = ends_[index];
    end.sender = *network_.station(index).tcp().connect(0, 0, network_.station(receiver_).address(), port, options, network_.now());
    end.sender->owner = this;
    end.port = end.sender->local_port;
    end.is_open = true;
}

void Bulk::accept() {
    while (tcp::Connection* c = network_.station(receiver_).tcp().accept(*listener_)) {
        c->owner = this;
        for (unsigned i = 0; i < receiver_; ++i) {
            if (c->remote_address == network_.station(i).address()) {
                ends_[i].receiver = c;
            }
        }
    }
}

void Bulk::write(unsigned index) {
    static const std::array<std::byte, 65536> data{};
    End& end = ends_[index];
    if (!end.sender->can_send()) {
        return;
    }
    tcp::Tcp& tcp = network_.station(index).tcp();
    const std::uint64_t bytes = setup_.flows[index].bytes;
    while (bytes == 0 || end.written < bytes) {
        const std::uint64_t size = std::min<std::uint64_t>({data.size(), tcp.send_room(*end.sender), bytes == 0 ? data.size() : bytes - end.written});
        const std::uint32_t taken = size == 0 ? 0 : tcp.send(*end.sender, std::span(data).first(size), false, network_.now());
        if (taken == 0) {
            end.sender->wants_room = true;  // as a program that waits: its buffer grows with the window
            return;
        }
        end.written += taken;
    }
}

void Bulk::read(unsigned index) {
    End& end = ends_[index];
    BulkResult& result = results_[index];
    const Time now = network_.now();
    const std::uint32_t copied = network_.station(receiver_).tcp().receive(*end.receiver, nullptr, ~0U, false, 0, now);
    result.bytes += copied;
    result.counted_bytes += now >= beginning + setup_.counts_from ? copied : 0;
    result.lasted = now - beginning - setup_.flows[index].starts_after;
    if (result.half_lasted == Duration{} && result.bytes * 2 >= setup_.flows[index].bytes) {
        result.half_lasted = result.lasted;
    }
    result.is_complete = setup_.flows[index].bytes != 0 && result.bytes == setup_.flows[index].bytes;
}

void Bulk::step() {
    accept();
    for (unsigned i = 0; i < receiver_; ++i) {
        if (!ends_[i].is_open && network_.now() >= beginning + setup_.flows[i].starts_after) {
            open(i);
        }
        if (ends_[i].receiver != nullptr && ends_[i].receiver->rcv_queued != 0) {
            read(i);
        }
        if (ends_[i].is_open) {
            write(i);
        }
    }
    if (++steps_ % steps_a_check == 0) {
        for (End& end : ends_) {
            for (tcp::Connection* c : {end.sender, end.receiver}) {
                if (c != nullptr) {
                    check_connection(*c, network_.now());
                }
            }
        }
    }
    if (setup_.detail && network_.now() >= print_at_) {
        print_at_ = network_.now() + detail_every;
        print();
    }
}

void Bulk::print() {
    for (unsigned i = 0; i < receiver_; ++i) {
        if (const tcp::Connection* c = ends_[i].sender) {
            std::printf("%8.3f s  flow %u  read %8lu kB  cwnd %5u  ssthresh %7u  pipe %5u  under way %5u segments  peer's window %5u  srtt %7.2f ms  recovery %d  sent again %u  time-outs %lu\n",
                        std::chrono::duration<double>(network_.now() - beginning).count(), i, results_[i].bytes / 1000, c->cwnd / c->mss, c->ssthresh / c->mss, c->pipe() / c->mss,
                        c->outstanding() / c->mss, c->snd_wnd / c->mss, std::chrono::duration<double, std::milli>(c->srtt).count(), static_cast<int>(c->recovery), c->retransmits,
                        network_.station(i).events(Event::tcp_timeouts));
        }
    }
}

// Time in which nobody sent anything is time lost; the state that it ended in tells why.
void Bulk::print_silence() {
    const Duration silence = network_.now() - last_sent_;
    if (silence > 4 * setup_.bottleneck.delay + 5ms) {
        std::printf("silence of %.1f ms\n", std::chrono::duration<double, std::milli>(silence).count());
        print();
    }
    last_sent_ = network_.now();
}

std::vector<BulkResult> Bulk::run() {
    if (setup_.detail) {
        network_.on_sent = [this](unsigned from, const Bytes&) {
            if (from != receiver_) {
                print_silence();
            }
        };
    }
    if (setup_.trace) {
        print_frames(network_);
    }
    network_.run(setup_.limit, [this] { return is_done(); }, [this] { step(); });
    for (unsigned i = 0; i < receiver_; ++i) {
        Station& station = network_.station(i);
        results_[i].retransmits = station.events(Event::tcp_retransmits);
        results_[i].timeouts = station.events(Event::tcp_timeouts);
        results_[i].probes = station.events(Event::tcp_tail_loss_probes);
        results_[i].recoveries = station.events(Event::tcp_fast_recoveries);
        results_[i].undone = station.events(Event::tcp_undo);
        for (const auto& [c, where] : {std::pair(ends_[i].sender, i), std::pair(ends_[i].receiver, receiver_)}) {
            if (c != nullptr) {
                network_.station(where).tcp().release(*c, true, network_.now());
            }
        }
    }
    return results_;
}

}  // namespace

std::vector<BulkResult> run_bulk(const BulkSetup& setup) {
    return Bulk(setup).run();
}

}  // namespace shunt::simulator
