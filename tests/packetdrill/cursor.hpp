// A place in a script's text, and the small steps of reading: blanks and comments, words, numbers.
#pragma once

#include <fmt/core.h>

#include <cctype>
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>

#include "packetdrill/script.hpp"

namespace shunt::packetdrill {

class Cursor {
public:
    Cursor(std::string_view text, std::size_t at, int first_line) : text_(text), at_(at), start_(at), first_line_(first_line) {}

    std::size_t position() const { return at_; }
    bool is_done() const { return at_ >= text_.size(); }
    char peek(std::size_t ahead = 0) const { return at_ + ahead < text_.size() ? text_[at_ + ahead] : '\0'; }
    bool looks_at(std::string_view what) const { return text_.substr(at_).starts_with(what); }
    void skip(std::size_t count) { at_ += count; }
    int line() const {
        int count = first_line_;
        for (std::size_t i = start_; i < at_ && i < text_.size(); ++i) {
            count += text_[i] == '\n';
        }
        return count;
    }
    [[noreturn]] void complain(const std::string& what) const {
        const std::string_view rest = text_.substr(std::min(at_, text_.size()), 30);
        throw ScriptError(line(), fmt::format("{}, at \"{}\"", what, rest.substr(0, rest.find('\n'))));
    }

    void skip_space() {
        while (!is_done()) {
            if (std::isspace(static_cast<unsigned char>(peek())) != 0) {
                ++at_;
            } else if (looks_at("//") || peek() == '#') {
                at_ = std::min(text_.find('\n', at_), text_.size());
            } else if (looks_at("/*")) {
                const std::size_t end = text_.find("*/", at_ + 2);
                if (end == std::string_view::npos) {
                    complain("a comment that does not end");
                }
                at_ = end + 2;
            } else {
                return;
            }
        }
    }
    bool take(std::string_view what) {
        skip_space();
        if (!looks_at(what)) {
            return false;
        }
        at_ += what.size();
        return true;
    }
    // A whole word, not the beginning of a longer one.
    bool take_word(std::string_view what) {
        skip_space();
        if (!looks_at(what) || is_word(peek(what.size()))) {
            return false;
        }
        at_ += what.size();
        return true;
    }
    void expect(std::string_view what) {
        if (!take(what)) {
            complain(fmt::format("'{}' is missing", what));
        }
    }
    std::string word() {
        skip_space();
        const std::size_t from = at_;
        while (is_word(peek())) {
            ++at_;
        }
        return std::string(text_.substr(from, at_ - from));
    }
    std::string until(std::string_view end) {
        const std::size_t from = at_, to = text_.find(end, at_);
        if (to == std::string_view::npos) {
            complain(fmt::format("'{}' is missing", end));
        }
        at_ = to + end.size();
        return std::string(text_.substr(from, to - from));
    }
    std::int64_t number() {
        skip_space();
        const bool is_negative = peek() == '-';
        at_ += is_negative;
        const int base = looks_at("0x") ? 16 : 10;
        at_ += base == 16 ? 2 : 0;
        std::int64_t value = 0;
        const auto [end, error] = std::from_chars(text_.data() + at_, text_.data() + text_.size(), value, base);
        if (error != std::errc{}) {
            complain("a number is missing");
        }
        at_ = static_cast<std::size_t>(end - text_.data());
        return is_negative ? -value : value;
    }
    std::uint32_t unsigned_number() { return static_cast<std::uint32_t>(number()); }
    // Seconds with up to nine decimals; "0..." is a zero and an ellipsis.
    Duration seconds() {
        skip_space();
        std::int64_t ns = 0;
        bool any = false;
        while (std::isdigit(static_cast<unsigned char>(peek())) != 0) {
            ns = ns * 10 + (peek() - '0');
            ++at_;
            any = true;
        }
        ns *= 1'000'000'000;
        if (peek() == '.' && std::isdigit(static_cast<unsigned char>(peek(1))) != 0) {
            ++at_;
            for (std::int64_t unit = 100'000'000; std::isdigit(static_cast<unsigned char>(peek())) != 0; unit /= 10, ++at_) {
                ns += (peek() - '0') * unit;
            }
            any = true;
        } else if (peek() == '.' && peek(1) != '.') {
            ++at_;
        }
        if (!any) {
            complain("a time is missing");
        }
        return Duration(ns);
    }
    std::string_view since(std::size_t from) const { return text_.substr(from, at_ - from); }
    static bool is_word(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_'; }

private:
    std::string_view text_;
    std::size_t at_, start_;
    int first_line_;
};

}  // namespace shunt::packetdrill
