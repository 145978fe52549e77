#include "differential/plan.hpp"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <linux/sockios.h>

#include <algorithm>
#include <cstring>

#include "differential/world.hpp"

namespace differential {
namespace {

constexpr Value slots[] = {{"s0", 0}, {"s1", 1}, {"s2", 2}, {"s3", 3}, {"s4", 4}, {"s5", 5}, {"s6", 6}, {"s7", 7}, {"s8", 8}, {"s9", 9}};
constexpr Value workers[] = {{"w0", 0}, {"w1", 1}};
constexpr const char* child_name = "child";
constexpr Value domains[] = {{"inet", AF_INET, 40}, {"unix", AF_UNIX}};
constexpr Value types[] = {{"stream", SOCK_STREAM, 5}, {"dgram", SOCK_DGRAM, 3}};
constexpr Value socket_flags_of[] = {{"blocking", 0, 2}, {"nonblock", SOCK_NONBLOCK, 14}, {"nonblock|cloexec", SOCK_NONBLOCK | SOCK_CLOEXEC}, {"bad_flag", 0x40000000}};
constexpr Value pair_types[] = {{"stream", SOCK_STREAM, 2}, {"dgram", SOCK_DGRAM}, {"seqpacket", SOCK_SEQPACKET}};
constexpr Value hosts[] = {{"one", Host::one, 8}, {"two", Host::two, 2}, {"any", Host::any, 3}, {"foreign", Host::foreign}};
constexpr Value ports[] = {{"port_0", -1, 12}, {"port_s0", 0}, {"port_s1", 1}, {"port_s2", 2}, {"port_s3", 3}, {"port_s4", 4}, {"port_s5", 5}};
constexpr Value name_lengths[] = {{"whole", -1, 14}, {"len_0", 0}, {"len_1", 1}, {"len_2", 2}, {"len_7", 7}, {"len_15", 15}, {"len_16", 16, 2}, {"len_17", 17}, {"len_28", 28}, {"len_128", 128},
                                  {"len_200", 200}, {"negative", -2}};
constexpr Value backlogs[] = {{"5", 5, 6}, {"0", 0}, {"1", 1}, {"-1", -1}, {"100000", 100000}};
constexpr Value destinations[] = {{"to_s0", 0}, {"to_s1", 1}, {"to_s2", 2}, {"to_s3", 3}, {"to_s4", 4}, {"to_s5", 5}, {"to_s6", 6}, {"to_s7", 7}, {"to_s8", 8}, {"to_s9", 9},
                                  {"closed_port", Destination::closed_port}, {"unspecified", Destination::unspecified}, {"bad_family", Destination::bad_family},
                                  {"port_zero", Destination::port_zero}, {"null", Destination::null}};
constexpr Value hows[] = {{"rd", SHUT_RD, 2}, {"wr", SHUT_WR, 4}, {"rdwr", SHUT_RDWR, 2}, {"3", 3}, {"-1", -1}};
constexpr Value sizes[] = {{"0", 0, 2}, {"1", 1, 3}, {"2", 2}, {"7", 7, 3}, {"64", 64, 4}, {"1000", 1000, 3}, {"1472", 1472}, {"4096", 4096}, {"9000", 9000}, {"65508", 65508}};
constexpr Value all_send_flags[] = {{"0", 0, 3}, {"DONTWAIT", MSG_DONTWAIT, 5}, {"NOSIGNAL|DONTWAIT", MSG_NOSIGNAL | MSG_DONTWAIT, 8}, 
                                    {"OOB|DONTWAIT", MSG_OOB | MSG_DONTWAIT, 2}, {"MORE|DONTWAIT", MSG_MORE | MSG_DONTWAIT}, {"EOR|DONTWAIT", MSG_EOR | MSG_DONTWAIT}, {"DONTROUTE|DONTWAIT", MSG_DONTROUTE | MSG_DONTWAIT},
                                    {"CONFIRM|DONTWAIT", MSG_CONFIRM | MSG_DONTWAIT}, {"TRUNC|DONTWAIT", MSG_TRUNC | MSG_DONTWAIT}, {"PEEK|DONTWAIT", MSG_PEEK | MSG_DONTWAIT}};
constexpr Value all_recv_flags[] = {{"0", 0, 4}, {"DONTWAIT", MSG_DONTWAIT, 18}, {"PEEK|DONTWAIT", MSG_PEEK | MSG_DONTWAIT, 4}, {"PEEK", MSG_PEEK}, {"WAITALL", MSG_WAITALL},
                                    {"WAITALL|DONTWAIT", MSG_WAITALL | MSG_DONTWAIT}, {"WAITALL|PEEK", MSG_WAITALL | MSG_PEEK}, {"TRUNC|DONTWAIT", MSG_TRUNC | MSG_DONTWAIT, 2},
                                    {"TRUNC|PEEK|DONTWAIT", MSG_TRUNC | MSG_PEEK | MSG_DONTWAIT}, {"OOB|DONTWAIT", MSG_OOB | MSG_DONTWAIT, 2}, {"OOB|PEEK", MSG_OOB | MSG_PEEK},
                                    {"ERRQUEUE", MSG_ERRQUEUE}, {"CMSG_CLOEXEC|DONTWAIT", MSG_CMSG_CLOEXEC | MSG_DONTWAIT}, {"NOSIGNAL|DONTWAIT", MSG_NOSIGNAL | MSG_DONTWAIT}};
constexpr Value shapes[] = {{"none", Shape::none}, {"one", Shape::one, 4}, {"three", Shape::three, 4}, {"with_empty", Shape::with_empty, 2}, {"all_empty", Shape::all_empty},
                            {"many", Shape::many}, {"too_many", Shape::too_many}, {"null_base", Shape::null_base}, {"huge_length", Shape::huge_length}};
constexpr Value option_values[] = {{"0", 0, 4}, {"1", 1, 6}, {"2", 2, 2}, {"-1", -1}, {"7", 7}, {"500", 500}, {"4096", 4096}, {"100000", 100000}};
constexpr Value option_lengths[] = {{"4", 4, 10}, {"0", 0}, {"1", 1}, {"2", 2}, {"3", 3}, {"8", 8, 2}, {"16", 16, 4}, {"-1", -1}};
constexpr Value controls[] = {{"FIONREAD", FIONREAD, 4}, {"SIOCOUTQ", SIOCOUTQ}, {"SIOCOUTQNSD", SIOCOUTQNSD}, {"FIONBIO_on", -1}, {"FIONBIO_off", -2}, {"SIOCATMARK", SIOCATMARK, 2},
                              {"FIOASYNC_off", FIOASYNC}, {"0xdead", 0xdead}};
constexpr Value epoll_operations[] = {{"add", EPOLL_CTL_ADD, 8}, {"mod", EPOLL_CTL_MOD, 4}, {"del", EPOLL_CTL_DEL, 2}, {"7", 7}};
constexpr Value all_epoll_events[] = {{"in", EPOLLIN, 4}, {"out", EPOLLOUT, 2}, {"in|out", EPOLLIN | EPOLLOUT, 3}, {"in|rdhup", EPOLLIN | EPOLLRDHUP, 2},
                                      {"all", EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI, 2}, {"et_in", static_cast<long>(EPOLLET | EPOLLIN), 3},
                                      {"et_all", static_cast<long>(EPOLLET | EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLPRI), 4}, {"oneshot_in", EPOLLONESHOT | EPOLLIN, 2},
                                      {"oneshot_et_all", static_cast<long>(EPOLLET | EPOLLONESHOT | EPOLLIN | EPOLLOUT | EPOLLRDHUP), 2}, {"exclusive_in", EPOLLEXCLUSIVE | EPOLLIN},
                                      {"none", 0}};
constexpr Value counts[] = {{"8", 8, 12}, {"0", 0}, {"-1", -1}};
constexpr Value timeouts[] = {{"now", 0, 16}, {"3_ms", 3}, {"for_ever", -1}};
constexpr Value signals[] = {{"restart", 0}, {"interrupt", 1}};
constexpr Value all_descriptor_flags[] = {{"getfl", 0, 2}, {"nonblock_on", 1, 2}, {"nonblock_off", 2}, {"getfd", 3}, {"cloexec_on", 4}};
constexpr Value all_event_flags[] = {{"plain", EFD_NONBLOCK, 2}, {"semaphore", EFD_NONBLOCK | EFD_SEMAPHORE}};
constexpr Value event_values[] = {{"0", 0}, {"3", 3}};
constexpr Value file_sizes[] = {{"0", 0}, {"100", 100}, {"5000", 5000}};
constexpr Value all_splice_flags[] = {{"nonblock", 2, 4}, {"0", 0}, {"more|nonblock", 6}};

// The index of the value of that name, or -1.
int index_of(Kind kind, std::string_view name) {
    const auto found = std::find_if(kind.begin(), kind.end(), [&](const Value& value) { return value.name == name; });
    return found == kind.end() ? -1 : static_cast<int>(found - kind.begin());
}

std::vector<std::string_view> words_of(std::string_view text) {
    std::vector<std::string_view> words;
    for (std::size_t at = 0; (at = text.find_first_not_of(' ', at)) != text.npos;) {
        const std::size_t end = std::min(text.find(' ', at), text.size());
        words.push_back(text.substr(at, end - at));
        at = end;
    }
    return words;
}

}  // namespace

namespace kinds {
const Kind slot = slots, worker = workers, domain = domains, type = types, socket_flags = socket_flags_of, pair_type = pair_types, host = hosts, port = ports,
           name_length = name_lengths, backlog = backlogs, destination = destinations, how = hows, size = sizes, send_flags = all_send_flags,
           recv_flags = all_recv_flags, shape = shapes, option_value = option_values, option_length = option_lengths, control = controls,
           epoll_operation = epoll_operations, epoll_events = all_epoll_events, count = counts, timeout = timeouts, signal = signals, descriptor_flags = all_descriptor_flags,
           event_flags = all_event_flags, event_value = event_values, file_size = file_sizes, splice_flags = all_splice_flags;
}

std::array<long, argument_max> Step::numbers() const {
    std::array<long, argument_max> found{};
    for (std::size_t i = 0; i < operation->arguments.size(); ++i) {
        found[i] = operation->arguments[i].kind[choices[i]].number;
    }
    return found;
}

const Operation* find_operation(std::string_view name) {
    for (const Operation& operation : operations()) {
        if (operation.name == name) {
            return &operation;
        }
    }
    return nullptr;
}

std::string text_of(const Step& step) {
    std::string text = step.worker >= 0 ? std::string(step.worker == in_child ? child_name : workers[step.worker].name) + " " : "";
    text += step.operation->name;
    for (std::size_t i = 0; i < step.operation->arguments.size(); ++i) {
        text += std::string(" ") + step.operation->arguments[i].kind[step.choices[i]].name;
    }
    return text;
}

std::optional<Step> step_of(std::string_view text) {
    std::vector<std::string_view> words = words_of(text);
    Step step;
    if (!words.empty()) {
        step.worker = words.front() == child_name ? in_child : index_of(kinds::worker, words.front());
    }
    if (step.worker >= 0) {
        words.erase(words.begin());
    }
    step.operation = words.empty() ? nullptr : find_operation(words.front());
    if (step.operation == nullptr || words.size() != step.operation->arguments.size() + 1) {
        return std::nullopt;
    }
    for (std::size_t i = 0; i + 1 < words.size(); ++i) {
        const int index = index_of(step.operation->arguments[i].kind, words[i + 1]);
        if (index < 0) {
            return std::nullopt;
        }
        step.choices[i] = static_cast<std::uint8_t>(index);
    }
    return step;
}

}  // namespace differential
