// Control messages of recvmsg: time stamps, the error queue's reports, plain numbers.
#include <sys/socket.h>
#include <sys/time.h>

#include <linux/errqueue.h>
#include <netinet/in.h>

#include <cstring>

#include "packetdrill/cursor.hpp"
#include "packetdrill/session.hpp"

namespace shunt::packetdrill {
namespace {

std::string compare_number(const char* name, const Expression* expected, std::int64_t actual) {
    if (expected == nullptr || !expected->is_number() || expected->number == actual) {
        return "";
    }
    return fmt::format("{}: expected {} but got {}", name, expected->number, actual);
}

std::string first_of(std::initializer_list<std::string> differences) {
    for (const std::string& each : differences) {
        if (!each.empty()) {
            return each;
        }
    }
    return "";
}

std::string compare_error(const Expression& expected, const sock_extended_err& actual) {
    return first_of({compare_number("ee_errno", expected.find("ee_errno"), actual.ee_errno), compare_number("ee_origin", expected.find("ee_origin"), actual.ee_origin),
                     compare_number("ee_type", expected.find("ee_type"), actual.ee_type), compare_number("ee_code", expected.find("ee_code"), actual.ee_code),
                     compare_number("ee_info", expected.find("ee_info"), actual.ee_info), compare_number("ee_data", expected.find("ee_data"), actual.ee_data)});
}

std::string compare_stamp(const Expression& expected, Duration actual, Duration tolerance) {
    const Expression* seconds = expected.find("scm_sec");
    const Expression* nanoseconds = expected.find("scm_nsec");
    if (seconds == nullptr || nanoseconds == nullptr) {
        return "a time stamp is {scm_sec=, scm_nsec=}";
    }
    const Duration wanted = std::chrono::seconds(seconds->number) + std::chrono::nanoseconds(nanoseconds->number);
    const bool is_right = actual >= wanted - tolerance && actual <= wanted + tolerance;
    return is_right ? "" : fmt::format("time stamp: expected {} us but got {} us", count_us(wanted), count_us(actual));
}

std::string compare_data(const Expression& expected, const cmsghdr& header, Time start, Duration tolerance) {
    if (expected.is_number()) {
        int value = 0;
        std::memcpy(&value, CMSG_DATA(&header), sizeof value);
        return compare_number("cmsg_data", &expected, value);
    }
    if (header.cmsg_level == SOL_SOCKET) {
        timespec stamp{};
        std::memcpy(&stamp, CMSG_DATA(&header), sizeof stamp);
        const long ns = header.cmsg_type == SO_TIMESTAMP ? stamp.tv_nsec * 1000 : stamp.tv_nsec;
        return compare_stamp(expected, Time{std::chrono::seconds(stamp.tv_sec) + std::chrono::nanoseconds(ns)} - start, tolerance);
    }
    sock_extended_err error{};
    std::memcpy(&error, CMSG_DATA(&header), sizeof error);
    return compare_error(expected, error);
}

}  // namespace

std::string compare_control(const Expression& expected, msghdr& actual, Time start, Duration tolerance) {
    cmsghdr* at = actual.msg_controllen != 0 ? CMSG_FIRSTHDR(&actual) : nullptr;
    for (const auto& [name, message] : expected.fields) {
        if (at == nullptr) {
            return "a control message is missing";
        }
        std::string differs = first_of({compare_number("cmsg_level", message.find("cmsg_level"), at->cmsg_level), compare_number("cmsg_type", message.find("cmsg_type"), at->cmsg_type)});
        if (const Expression* data = message.find("cmsg_data"); data != nullptr && differs.empty()) {
            differs = compare_data(*data, *at, start, tolerance);
        }
        if (!differs.empty()) {
            return differs;
        }
        at = CMSG_NXTHDR(&actual, at);
    }
    return at == nullptr ? "" : fmt::format("an unexpected control message: level {}, type {}", at->cmsg_level, at->cmsg_type);
}

}  // namespace shunt::packetdrill
