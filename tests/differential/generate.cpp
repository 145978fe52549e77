#include "differential/generate.hpp"

#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <algorithm>
#include <bit>
#include <numeric>
#include <random>

namespace differential {
namespace {

class Generator {
public:
    explicit Generator(std::uint64_t seed) : random_(seed), has_child_(seed % 8 == 7) { roles_.fill(empty); }
    Plan make(int steps);

private:
    unsigned below(unsigned limit) { return static_cast<unsigned>(random_() % limit); }  // the same with every library
    bool one_in(unsigned n) { return below(n) == 0; }
    std::size_t choose(Kind kind);
    std::uint8_t choose_slot(unsigned roles);
    void add(Step step);
    void follow(const Step& step);
    Step any_step();
    void avoid_known(Step& step);
    // A step of that name; arguments by the names of their values.
    void add(std::string_view text) { add(*step_of(text)); }
    void add_tcp_pair();
    void add_udp_pair();
    void add_blocked_call();
    void add_child_step();
    std::string slot_name(unsigned roles) { return kinds::slot[choose_slot(roles)].name; }

    std::mt19937_64 random_;
    std::array<unsigned, slot_count> roles_;
    std::array<unsigned, slot_count> other_roles_{};  // of the process that does not make this step
    const bool has_child_;
    bool is_forked_ = false;
    unsigned filled_sets_ = 0;  // slots with epoll sets that something has been added to
    int actor_ = -1;  // of the steps that are added
    unsigned workers_busy_ = 0;
    bool chooses_well_ = true;
    Plan plan_;
};

std::size_t Generator::choose(Kind kind) {
    const int all = std::accumulate(kind.begin(), kind.end(), 0, [](int sum, const Value& value) { return sum + value.weight; });
    auto left = static_cast<int>(below(static_cast<unsigned>(all)));
    std::size_t i = 0;
    while ((left -= kind[i].weight) >= 0) {
        ++i;
    }
    return i;
}

// One that holds what is asked, where there is one.
std::uint8_t Generator::choose_slot(unsigned roles) {
    std::vector<std::uint8_t> fit;
    for (std::uint8_t i = 0; i < slot_count; ++i) {
        if ((roles_[i] & roles) != 0) {
            fit.push_back(i);
        }
    }
    if (fit.empty() || (!chooses_well_ && one_in(3))) {
        return static_cast<std::uint8_t>(below(slot_count));
    }
    return fit[below(static_cast<unsigned>(fit.size()))];
}

Step Generator::any_step() {
    static const int all = [] {
        int sum = 0;
        for (const Operation& operation : operations()) {
            sum += operation.weight;
        }
        return sum;
    }();
    auto left = static_cast<int>(below(static_cast<unsigned>(all)));
    Step step;
    for (const Operation& operation : operations()) {
        step.operation = &operation;
        if ((left -= operation.weight) < 0) {
            break;
        }
    }
    for (std::size_t i = 0; i < step.operation->arguments.size(); ++i) {
        const Argument& argument = step.operation->arguments[i];
        step.choices[i] = is_slot(argument) ? choose_slot(argument.roles) : static_cast<std::uint8_t>(choose(argument.kind));
    }
    avoid_known(step);
    return step;
}

// What docs/sockets.md lists as different, and what is not settled anywhere.
void Generator::avoid_known(Step& step) {
    const std::string_view name = step.operation->name;
    const unsigned role = step.operation->arguments.empty() ? 0 : roles_[step.choices[0]];
    if (name == "bind" && (role & udp) == 0) {
        step.choices[2] = 0;  // a port that another TCP socket is bound to, but does not listen on
    }
    if ((name == "send" || name == "write" || name == "sendto") && (role & udp) == 0) {
        step.choices[1] = std::min<std::uint8_t>(step.choices[1], 8);  // how much of a large write is taken before a reset is seen
    }
    for (std::size_t i = 0; i < step.operation->arguments.size() && (role & udp) == 0; ++i) {
        const Kind kind = step.operation->arguments[i].kind;
        if (kind.data() == kinds::send_flags.data() && (kind[step.choices[i]].number & MSG_MORE) != 0) {
            step.choices[i] = 0;  // when bytes leave that MSG_MORE holds back
        }
    }
}

void Generator::add(Step step) {
    step.worker = step.worker < 0 ? actor_ : step.worker;
    follow(step);
    plan_.push_back(step);
}

// What slots hold afterwards, as far as it can be told without making the call.
void Generator::follow(const Step& step) {
    const std::string_view name = step.operation->name;
    const auto numbers = step.numbers();
    unsigned& first = roles_[static_cast<std::size_t>(numbers[0]) % slot_count];
    unsigned& second = roles_[static_cast<std::size_t>(numbers[1]) % slot_count];
    if (step.operation->makes != empty) {
        first = step.operation->makes;
        filled_sets_ &= ~(1U << (numbers[0] % slot_count));
    } else if (name == "socket") {
        first = numbers[1] != AF_INET ? pair : numbers[2] == SOCK_STREAM ? tcp_fresh : udp_fresh;
    } else if (name == "pipe") {
        first = pipe_in;
        second = pipe_out;
    } else if (name == "socketpair") {
        first = second = pair;
    } else if (name == "epoll_ctl") {
        const bool adds = numbers[1] == EPOLL_CTL_ADD && (roles_[static_cast<std::size_t>(numbers[2])] & inet) != 0;
        filled_sets_ |= adds ? 1U << numbers[0] : 0;
    } else if (name == "close") {
        first = empty;
    } else if (name == "dup" || name == "dup2") {
        second = first;
    } else if (name == "accept") {
        second = first == listener ? tcp_open : second;
    } else if (name == "bind") {
        first = first == tcp_fresh ? tcp_bound : first == udp_fresh ? udp_bound : first;
    } else if (name == "listen") {
        first = (first & (tcp_fresh | tcp_bound)) != 0 ? listener : first;
    } else if (first == udp_fresh && (name == "connect" || name.starts_with("send"))) {
        first = udp_bound;
    } else if (name == "connect" && (first & (tcp_fresh | tcp_bound | tcp_failed)) != 0) {
        first = numbers[1] < slot_count && roles_[static_cast<std::size_t>(numbers[1])] == listener ? tcp_open : tcp_failed;
    }
}

// ---------------------------------------------------------------- what takes several steps

void Generator::add_tcp_pair() {
    const bool has_listener = std::find(roles_.begin(), roles_.end(), listener) != roles_.end();
    const bool listens_already = has_listener && !one_in(4);
    const std::string server = slot_name(listens_already ? listener : empty);
    if (!listens_already) {
        add("socket " + server + " inet stream nonblock");
        add("bind " + server + (one_in(4) ? " any" : " one") + " port_0 whole");
        add("listen " + server + " 5");
    }
    const std::string client = slot_name(empty | file | event | timer), accepted = slot_name(empty | file | event | timer);
    if (client == accepted || client == server || accepted == server) {
        return;
    }
    add("socket " + client + " inet stream " + (one_in(8) ? "blocking" : "nonblock"));
    if (!one_in(5)) {
        add("setsockopt " + client + " TCP_NODELAY 1 4");
    }
    add("connect " + client + " to_" + server + " whole");
    add("accept " + server + " " + accepted + " whole " + (one_in(8) ? "blocking" : "nonblock"));
    if (!one_in(5)) {
        add("setsockopt " + accepted + " TCP_NODELAY 1 4");
    }
}

void Generator::add_udp_pair() {
    const std::string one = slot_name(empty), other = slot_name(empty);
    if (one == other) {
        return;
    }
    for (const std::string& each : {one, other}) {
        add("socket " + each + " inet dgram " + (one_in(8) ? "blocking" : "nonblock"));
        add("bind " + each + (one_in(5) ? " any" : " one") + " port_0 whole");
    }
    add("connect " + one + " to_" + other + " whole");
    if (!one_in(3)) {
        add("connect " + other + " to_" + one + " whole");
    }
}

void Generator::add_blocked_call() {
    const unsigned worker = below(worker_count);
    const std::string name = kinds::worker[worker].name;
    if ((workers_busy_ >> worker & 1) != 0) {
        if (one_in(2)) {
            add("signal " + name + (one_in(2) ? " restart" : " interrupt"));
        } else {
            add("join " + name);
            workers_busy_ &= ~(1U << worker);
        }
        return;
    }
    for (int tries = 0; tries < 20; ++tries) {
        Step step = any_step();
        if (step.operation->may_block) {
            if (one_in(2) && step.operation->arguments.size() > 0) {
                add("fcntl " + std::string(kinds::slot[step.choices[0]].name) + " nonblock_off");
            }
            step.worker = static_cast<int>(worker);
            add(step);
            workers_busy_ |= 1U << worker;
            return;
        }
    }
}

// Now and then the second process ends, and another is forked.
void Generator::add_child_step() {
    if (!is_forked_ || one_in(40)) {
        for (std::size_t i = 0; i < slot_count && !is_forked_; ++i) {
            if (roles_[i] == epoll && (filled_sets_ >> i & 1) == 0) {
                add("close " + std::string(kinds::slot[i].name));  // such a one becomes Shunt's in one process only
            }
        }
        add(is_forked_ ? "end_child" : "fork");
        other_roles_ = roles_;
        is_forked_ = !is_forked_;
        return;
    }
    roles_.swap(other_roles_);
    actor_ = in_child;
    if (one_in(20)) {
        one_in(2) ? add_tcp_pair() : add_udp_pair();
    } else {
        add(any_step());
    }
    actor_ = -1;
    roles_.swap(other_roles_);
}

Plan Generator::make(int steps) {
    const bool has_threads = one_in(8);
    const unsigned flavour = below(4);
    while (static_cast<int>(plan_.size()) < steps) {
        chooses_well_ = !one_in(12);
        const auto held = std::count_if(roles_.begin(), roles_.end(), [](unsigned role) { return role != empty; });
        if (held < 3 || one_in(25)) {
            (flavour == 0 || (flavour == 1 && one_in(2))) ? add_udp_pair() : add_tcp_pair();
        } else if (has_child_ && one_in(is_forked_ ? 2 : 6)) {
            add_child_step();
        } else if (has_threads && one_in(6)) {
            add_blocked_call();
        } else if (one_in(400)) {
            const std::string filled = slot_name(tcp_open | pair);
            add("fill " + filled);
        } else {
            add(any_step());
        }
    }
    plan_.resize(static_cast<std::size_t>(steps));
    return plan_;
}

}  // namespace

Plan generate(std::uint64_t seed, int steps) { return Generator(seed).make(steps); }

}  // namespace differential
