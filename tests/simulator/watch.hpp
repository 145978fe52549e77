// What must hold after every step, whatever the wire does. A Violation says which connection broke which rule.
#pragma once

#include <map>
#include <tuple>

#include "simulator/station.hpp"

namespace shunt::simulator {

// The state of one connection by itself: its own is_valid(), the books of sender and receiver, and that a timer runs whenever something is under way.
void check_connection(const tcp::Connection& c, Time now);
std::string describe(const tcp::Connection& c);

// What must hold from one step to the next.
class Watch {
public:
    // All connections and listeners of a station.
    void check(Station& station, Time now);
    // A frame that a station sends: the right edge of the window it promises never moves back (RFC 9293, 3.8.6.2.1), and its sums are right.
    void on_sent(const Bytes& frame);
    void forget(const Station& station);  // it was restarted

private:
    struct Seen {
        Seq iss, irs, snd_una, rcv_nxt, rcv_adv;
    };
    struct Edge {
        Seq right;
        std::uint8_t scale = 0;
        bool has_scale_option = false, is_known = false;
    };
    using Flow = std::tuple<std::uint32_t, std::uint16_t, std::uint32_t, std::uint16_t>;  // from, port, to, port

    std::map<std::pair<const Station*, const tcp::Connection*>, Seen> seen_;
    std::map<Flow, Edge> edges_;
};

}  // namespace shunt::simulator
