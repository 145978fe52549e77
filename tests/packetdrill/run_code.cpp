// The blocks between %{ and }%: assertions on TCP_INFO, in the little of Python that they are written in.
#include <linux/tcp.h>

#include <array>
#include <cstring>
#include <functional>
#include <map>

#include "packetdrill/cursor.hpp"
#include "packetdrill/session.hpp"

namespace shunt::packetdrill {
namespace {

using Names = std::map<std::string, double, std::less<>>;

#define SHUNT_FIELD(name)                                                                                       \
    if (offsetof(tcp_info, name) + sizeof(tcp_info::name) <= length) {                                          \
        names[#name] = static_cast<double>(info.name);                                                          \
    }

void add_counts(Names& names, const tcp_info& info, std::size_t length) {
    SHUNT_FIELD(tcpi_pacing_rate)
    SHUNT_FIELD(tcpi_max_pacing_rate)
    SHUNT_FIELD(tcpi_bytes_acked)
    SHUNT_FIELD(tcpi_bytes_received)
    SHUNT_FIELD(tcpi_segs_out)
    SHUNT_FIELD(tcpi_segs_in)
    SHUNT_FIELD(tcpi_notsent_bytes)
    SHUNT_FIELD(tcpi_min_rtt)
    SHUNT_FIELD(tcpi_data_segs_in)
    SHUNT_FIELD(tcpi_data_segs_out)
    SHUNT_FIELD(tcpi_delivery_rate)
    SHUNT_FIELD(tcpi_busy_time)
    SHUNT_FIELD(tcpi_rwnd_limited)
    SHUNT_FIELD(tcpi_sndbuf_limited)
    SHUNT_FIELD(tcpi_delivered)
    SHUNT_FIELD(tcpi_delivered_ce)
    SHUNT_FIELD(tcpi_bytes_sent)
    SHUNT_FIELD(tcpi_bytes_retrans)
    SHUNT_FIELD(tcpi_dsack_dups)
    SHUNT_FIELD(tcpi_reord_seen)
    SHUNT_FIELD(tcpi_rcv_ooopack)
    SHUNT_FIELD(tcpi_snd_wnd)
}

void add_info(Names& names, const tcp_info& info, std::size_t length) {
    SHUNT_FIELD(tcpi_state)
    SHUNT_FIELD(tcpi_ca_state)
    SHUNT_FIELD(tcpi_retransmits)
    SHUNT_FIELD(tcpi_probes)
    SHUNT_FIELD(tcpi_backoff)
    SHUNT_FIELD(tcpi_options)
    SHUNT_FIELD(tcpi_rto)
    SHUNT_FIELD(tcpi_ato)
    SHUNT_FIELD(tcpi_snd_mss)
    SHUNT_FIELD(tcpi_rcv_mss)
    SHUNT_FIELD(tcpi_unacked)
    SHUNT_FIELD(tcpi_sacked)
    SHUNT_FIELD(tcpi_lost)
    SHUNT_FIELD(tcpi_retrans)
    SHUNT_FIELD(tcpi_fackets)
    SHUNT_FIELD(tcpi_last_data_sent)
    SHUNT_FIELD(tcpi_last_ack_sent)
    SHUNT_FIELD(tcpi_last_data_recv)
    SHUNT_FIELD(tcpi_last_ack_recv)
    SHUNT_FIELD(tcpi_pmtu)
    SHUNT_FIELD(tcpi_rcv_ssthresh)
    SHUNT_FIELD(tcpi_rtt)
    SHUNT_FIELD(tcpi_rttvar)
    SHUNT_FIELD(tcpi_snd_ssthresh)
    SHUNT_FIELD(tcpi_snd_cwnd)
    SHUNT_FIELD(tcpi_advmss)
    SHUNT_FIELD(tcpi_reordering)
    SHUNT_FIELD(tcpi_rcv_rtt)
    SHUNT_FIELD(tcpi_rcv_space)
    SHUNT_FIELD(tcpi_total_retrans)
    names["tcpi_snd_wscale"] = info.tcpi_snd_wscale;
    names["tcpi_rcv_wscale"] = info.tcpi_rcv_wscale;
    names["tcpi_delivery_rate_app_limited"] = info.tcpi_delivery_rate_app_limited;
}
#undef SHUNT_FIELD

Names names_of(Calls& calls, int fd, int line) {
    Names names{{"True", 1}, {"False", 0}, {"TCPI_OPT_TIMESTAMPS", TCPI_OPT_TIMESTAMPS}, {"TCPI_OPT_SACK", TCPI_OPT_SACK}, {"TCPI_OPT_WSCALE", TCPI_OPT_WSCALE},
                {"TCPI_OPT_ECN", TCPI_OPT_ECN}, {"TCPI_OPT_ECN_SEEN", TCPI_OPT_ECN_SEEN}, {"TCPI_OPT_SYN_DATA", TCPI_OPT_SYN_DATA}, {"TCP_CA_Open", TCP_CA_Open},
                {"TCP_CA_Disorder", TCP_CA_Disorder}, {"TCP_CA_CWR", TCP_CA_CWR}, {"TCP_CA_Recovery", TCP_CA_Recovery}, {"TCP_CA_Loss", TCP_CA_Loss}};
    constexpr const char* states[] = {"", "TCP_ESTABLISHED", "TCP_SYN_SENT", "TCP_SYN_RECV", "TCP_FIN_WAIT1", "TCP_FIN_WAIT2", "TCP_TIME_WAIT", "TCP_CLOSE", "TCP_CLOSE_WAIT", "TCP_LAST_ACK", "TCP_LISTEN", "TCP_CLOSING"};
    for (std::size_t i = 1; i < std::size(states); ++i) {
        names[states[i]] = static_cast<double>(i);
    }
    tcp_info info{};
    socklen_t length = sizeof info;
    const long result = fd >= 0 ? calls.get_option(fd, 6, TCP_INFO, &info, &length) : -1;
    if (result != 0) {
        throw ScriptError(line, "there is no connection whose TCP_INFO could be asked for");
    }
    add_info(names, info, length);
    add_counts(names, info, length);
    return names;
}

// Precedence climbing over: or, and, not, comparisons (chained), |, &, + -, * / %, unary -, parentheses, names, numbers.
class Evaluator {
public:
    Evaluator(Cursor& in, const Names& names) : in_(in), names_(names) {}

    double disjunction() {
        double value = conjunction();
        while (in_.take_word("or")) {
            const double right = conjunction();
            value = value != 0 ? value : right;
        }
        return value;
    }

private:
    double conjunction() {
        double value = negation();
        while (in_.take_word("and")) {
            const double right = negation();
            value = value == 0 ? value : right;
        }
        return value;
    }
    double negation() { return in_.take_word("not") ? static_cast<double>(negation() == 0) : comparison(); }
    double comparison() {
        double left = sum();
        bool all = true, any = false;
        while (const auto test = comparator()) {
            const double right = sum();
            all = all && test(left, right);
            any = true;
            left = right;
        }
        return any ? static_cast<double>(all) : left;
    }
    std::function<bool(double, double)> comparator() {
        if (in_.take("==")) {
            return std::equal_to<double>();
        }
        if (in_.take("!=")) {
            return std::not_equal_to<double>();
        }
        if (in_.take("<=")) {
            return std::less_equal<double>();
        }
        if (in_.take(">=")) {
            return std::greater_equal<double>();
        }
        if (in_.take("<")) {
            return std::less<double>();
        }
        if (in_.take(">")) {
            return std::greater<double>();
        }
        return nullptr;
    }
    double sum() {
        double value = product();
        while (true) {
            if (in_.take("+")) {
                value += product();
            } else if (in_.take("-")) {
                value -= product();
            } else if (in_.take("&")) {
                value = static_cast<double>(static_cast<std::int64_t>(value) & static_cast<std::int64_t>(product()));
            } else if (in_.take("|")) {
                value = static_cast<double>(static_cast<std::int64_t>(value) | static_cast<std::int64_t>(product()));
            } else {
                return value;
            }
        }
    }
    double product() {
        double value = single();
        while (true) {
            if (in_.take("*")) {
                value *= single();
            } else if (in_.take("//") || in_.take("/")) {
                value /= single();
            } else if (in_.take("%")) {
                value = static_cast<double>(static_cast<std::int64_t>(value) % static_cast<std::int64_t>(single()));
            } else {
                return value;
            }
        }
    }
    double single() {
        in_.skip_space();
        if (in_.take("(")) {
            const double value = disjunction();
            in_.expect(")");
            return value;
        }
        if (in_.take("-")) {
            return -single();
        }
        if (std::isdigit(static_cast<unsigned char>(in_.peek())) != 0) {
            return number();
        }
        const std::string name = in_.word();
        if (name == "abs") {
            const double value = single();
            return value < 0 ? -value : value;
        }
        const auto found = names_.find(name);
        if (found == names_.end()) {
            in_.complain(fmt::format("'{}' is nothing that the stack's TCP_INFO tells", name));
        }
        return found->second;
    }
    double number() {
        auto value = static_cast<double>(in_.number());
        if (in_.peek() == '.' && std::isdigit(static_cast<unsigned char>(in_.peek(1))) != 0) {
            in_.skip(1);
            for (double unit = 0.1; std::isdigit(static_cast<unsigned char>(in_.peek())) != 0; unit /= 10, in_.skip(1)) {
                value += unit * (in_.peek() - '0');
            }
        }
        return value;
    }

    Cursor& in_;
    const Names& names_;
};

// The names in a statement, with their values: what one wants to see when it does not hold.
std::string shown_names(std::string_view statement, const Names& names) {
    std::string text;
    for (const auto& [name, value] : names) {
        if (name.starts_with("tcpi_") && statement.find(name) != std::string_view::npos) {
            text += fmt::format("{}{} = {}", text.empty() ? "" : ", ", name, value);
        }
    }
    return text;
}

void skip_statement(Cursor& in) {
    while (!in.is_done() && in.peek() != '\n' && in.peek() != ';') {
        in.skip(1);
    }
}

}  // namespace

void run_code(Calls& calls, int fd, const std::string& code, int line) {
    const Names names = names_of(calls, fd, line);
    Cursor in(code, 0, line);
    for (in.skip_space(); !in.is_done(); in.skip_space()) {
        if (in.take(";") || in.take("\\") || in.take_word("pass")) {
            continue;
        }
        const int at = in.line();
        if (in.take_word("print") || in.take_word("import")) {
            skip_statement(in);
            continue;
        }
        if (!in.take_word("assert")) {
            in.complain("only assert and print are understood here");
        }
        const std::size_t from = in.position();
        const bool holds = Evaluator(in, names).disjunction() != 0;
        const std::string statement(in.since(from));
        if (!holds) {
            throw ScriptError(at, fmt::format("AssertionError:{}\nactual: {}", statement, shown_names(statement, names)));
        }
        if (in.take(",")) {
            skip_statement(in);
        }
    }
}

}  // namespace shunt::packetdrill
