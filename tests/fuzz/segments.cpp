// Sequences of segments, calls and pauses against a connection in each state. What the program reads must be what the peer's stream has there, however
// the segments overlap; every rule of the simulator's watch holds after each step.
#include "fuzz/bench.hpp"

namespace shunt::fuzz {
namespace {

namespace flag = test::flag;

wire::TcpOptions offer(std::uint8_t choice) {
    wire::TcpOptions options;
    options.mss = (choice & 1) != 0 ? 1460 : 300;
    options.wscale = (choice & 2) != 0 ? 7 : -1;
    options.sack_permitted = (choice & 4) != 0;
    options.has_timestamp = (choice & 8) != 0;
    options.tsval = 5000;
    return options;
}

void give_next(Bench& bench, std::uint8_t flags) {
    if (bench.c != nullptr) {
        bench.give_tcp(bench.c->rcv_nxt.raw(), bench.c->snd_nxt.raw(), flags, 500, bench.plain_options(), {});
    }
}

// Into one of the states of RFC 9293, 3.3.2, by the ordinary way.
void reach(Bench& bench, tcp::State state, std::uint8_t choice) {
    const bool actively = (choice & 16) != 0;
    if (state == tcp::State::syn_sent || state == tcp::State::syn_received) {
        bench.begin_open(state == tcp::State::syn_sent, offer(choice));
        return;
    }
    if (state == tcp::State::closed) {
        return;
    }
    bench.open(actively, offer(choice));
    switch (state) {
        case tcp::State::fin_wait_1:
            bench.write(100);
            bench.shutdown();
            break;
        case tcp::State::fin_wait_2:
            bench.shutdown();
            give_next(bench, flag::ack);
            break;
        case tcp::State::close_wait:
            give_next(bench, flag::fin | flag::ack);
            break;
        case tcp::State::last_ack:
            give_next(bench, flag::fin | flag::ack);
            bench.shutdown();
            break;
        case tcp::State::closing: {
            const std::uint32_t before = bench.c->snd_nxt.raw();
            bench.shutdown();
            bench.give_tcp(bench.c->rcv_nxt.raw(), before, flag::fin | flag::ack, 500, bench.plain_options(), {});
            break;
        }
        case tcp::State::time_wait:
            bench.shutdown();
            give_next(bench, flag::fin | flag::ack);
            break;
        default:
            break;
    }
}

// A place near `around`: at it, a little or a segment off, or anywhere.
std::uint32_t place(Input& input, std::uint32_t around) {
    switch (input.below(6)) {
        case 0:
        case 1: return around;
        case 2: return around + static_cast<std::uint32_t>(static_cast<std::int8_t>(input.byte()));
        case 3: return around + static_cast<std::uint32_t>(static_cast<std::int16_t>(input.word()));
        case 4: return around + 1448 * input.below(16);
        default: return input.long_word();
    }
}

struct Numbers {
    std::uint32_t rcv_nxt = Bench::peer_iss + 1, snd_una = 0, snd_nxt = 0;
};

Numbers numbers_of(Bench& bench) {
    Numbers numbers;
    bench.station.tcp().for_each_connection([&](const tcp::Connection& each) {
        if (each.remote_port == Bench::peer_port) {
            numbers = {each.rcv_nxt.raw(), each.snd_una.raw(), each.snd_nxt.raw()};
        }
    });
    return numbers;
}

void give_segment(Bench& bench, Input& input) {
    const Numbers n = numbers_of(bench);
    const std::uint8_t kind = input.byte();
    std::uint8_t flags = (kind & 128) != 0 ? input.byte() : flag::ack;
    const std::uint32_t seq = place(input, n.rcv_nxt), ack = place(input, (kind & 1) != 0 ? n.snd_nxt : n.snd_una);
    wire::TcpOptions options = bench.plain_options();
    if ((kind & 2) != 0) {
        options.tsval = place(input, options.tsval);
        options.tsecr = place(input, options.tsecr);
        options.has_timestamp = (kind & 4) != 0;
    }
    if ((kind & 8) != 0) {
        options.sack_count = static_cast<std::uint8_t>(1 + input.below(options.has_timestamp ? 3 : 4));
        for (unsigned i = 0; i < options.sack_count; ++i) {
            options.sack[i].left = Seq(place(input, n.snd_una));
            options.sack[i].right = Seq(place(input, options.sack[i].left.raw() + 100));
        }
    }
    if ((flags & flag::syn) != 0) {
        options = offer(input.byte());
    }
    const std::size_t size = (kind & 16) != 0 ? input.below(1461) : 0;
    const std::uint16_t window = (kind & 32) != 0 ? input.word() : 500;
    bench.give_tcp(seq, ack, flags, window, options, stream_bytes(seq - Bench::peer_iss - 1, size));
}

void step(Bench& bench, Input& input) {
    switch (input.below(16)) {
        case 0: return bench.write(input.below(8000));
        case 1: return bench.read(1 + input.below(60000));
        case 2: return bench.pass(Duration(std::int64_t{input.word()} * 100'000));
        case 3: return bench.pass(Duration(std::int64_t{input.byte()} * 1'000'000'000));
        case 4: return input.below(4) == 0 ? bench.shutdown() : bench.read(1);
        case 5: return input.below(8) == 0 ? bench.release(input.below(2) != 0) : bench.pass(40ms);
        default: return give_segment(bench, input);
    }
}

}  // namespace
}  // namespace shunt::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace shunt;
    constexpr unsigned steps_max = 200;
    fuzz::Input input(data, size);
    const std::uint8_t state = input.byte(), choice = input.byte();
    Tunables tunables;
    tunables.tcp_congestion_control = (choice & 32) != 0 ? CongestionControl::reno : CongestionControl::cubic;
    if ((choice & 64) != 0) {
        tunables.tcp_rmem = {4096, 8192, 16384};
    }
    fuzz::Bench bench(tunables);
    fuzz::reach(bench, static_cast<tcp::State>(state % 10), choice);
    if ((state & 16) != 0) {
        bench.release(false);
    }
    for (unsigned i = 0; i < steps_max && !input.is_empty(); ++i) {
        fuzz::step(bench, input);
    }
    return 0;
}
