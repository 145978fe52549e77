// Scripts: options, times, system calls, commands, code blocks.
#include <algorithm>

#include "packetdrill/cursor.hpp"

namespace shunt::packetdrill {
namespace {

using Kind = Expression::Kind;

Expression parse_expression(Cursor& in);

Expression number_expression(std::int64_t value, std::string_view spelling) {
    Expression result;
    result.kind = Kind::number;
    result.number = value;
    result.text = spelling;
    return result;
}

// name, name(...), name(...)=value, name=value or a plain value, separated by commas up to `end`.
std::vector<std::pair<std::string, Expression>> parse_fields(Cursor& in, std::string_view end) {
    std::vector<std::pair<std::string, Expression>> fields;
    while (!in.take(end)) {
        if (!fields.empty()) {
            in.expect(",");
        }
        Cursor ahead = in;
        std::string name = ahead.word();
        if (!name.empty() && ahead.take("(")) {
            ahead.until(")");  // msg_iov(2)=...: the count is the list's
        }
        if (!name.empty() && std::isdigit(static_cast<unsigned char>(name[0])) == 0 && ahead.take("=")) {
            in = ahead;
        } else {
            name.clear();
        }
        fields.emplace_back(name, parse_expression(in));
    }
    return fields;
}

Expression parse_text(Cursor& in) {
    Expression result;
    result.kind = Kind::text;
    result.text = in.until("\"");
    for (std::size_t at = 0; (at = result.text.find("\\x", at)) != std::string::npos && at + 4 <= result.text.size(); ++at) {
        result.text.replace(at, 4, 1, static_cast<char>(std::stoi(result.text.substr(at + 2, 2), nullptr, 16)));
    }
    return result;
}

Expression parse_named(Cursor& in) {
    const std::string name = in.word();
    if (in.take("(")) {
        Expression result;
        result.kind = Kind::call;
        result.text = name;
        result.fields = parse_fields(in, ")");
        return result;
    }
    if (name == "NULL") {
        return number_expression(0, name);
    }
    const auto value = find_symbol(name);
    if (!value) {
        in.complain(fmt::format("the name {} is not known", name));
    }
    return number_expression(*value, name);
}

Expression parse_single(Cursor& in) {
    in.skip_space();
    Expression result;
    if (in.take("...")) {
        result.kind = Kind::ellipsis;
        return result;
    }
    if (in.take("\"")) {
        return parse_text(in);
    }
    if (in.take("[")) {
        result.kind = Kind::list;
        result.fields = parse_fields(in, "]");
        return result;
    }
    if (in.take("{")) {
        result.kind = Kind::record;
        result.fields = parse_fields(in, "}");
        return result;
    }
    if (std::isdigit(static_cast<unsigned char>(in.peek())) != 0 || in.peek() == '-') {
        const std::size_t from = in.position();
        const std::int64_t value = in.number();
        return number_expression(value, in.since(from));
    }
    if (!Cursor::is_word(in.peek())) {
        in.complain("a value is missing");
    }
    return parse_named(in);
}

Expression parse_expression(Cursor& in) {
    Expression result = parse_single(in);
    while (result.is_number() && in.take("|")) {
        const Expression more = parse_single(in);
        if (!more.is_number()) {
            in.complain("'|' joins numbers");
        }
        result.number |= more.number;
        result.text += "|" + more.text;
    }
    return result;
}

SystemCall parse_call(Cursor& in) {
    SystemCall call;
    call.name = in.word();
    in.expect("(");
    for (auto& [name, value] : parse_fields(in, ")")) {
        call.arguments.push_back(std::move(value));
    }
    in.expect("=");
    if (in.take("?")) {
        call.result.kind = Kind::ellipsis;
    } else {
        call.result = parse_expression(in);
    }
    in.skip_space();
    if (in.peek() == 'E' && call.result.number < 0) {
        call.error = in.word();
        if (!find_symbol(call.error)) {
            in.complain(fmt::format("the error {} is not known", call.error));
        }
    }
    if (in.take("(")) {
        in.until(")");  // "(Resource temporarily unavailable)", "(flags O_RDWR)"
    }
    return call;
}

EventTime parse_time(Cursor& in) {
    EventTime time;
    in.skip_space();
    if (in.take("*")) {
        time.kind = EventTime::Kind::any;
        return time;
    }
    const bool is_relative = in.take("+");
    time.kind = is_relative ? EventTime::Kind::relative : EventTime::Kind::absolute;
    time.first = time.last = in.seconds();
    if (in.take("~")) {
        in.take("+");
        time.last = in.seconds();
    }
    return time;
}

bool starts_time(const Cursor& in) { return in.peek() == '+' || in.peek() == '*' || in.peek() == '.' || std::isdigit(static_cast<unsigned char>(in.peek())) != 0; }

class Parser {
public:
    Parser(std::string path, std::string_view text) : in_(text, 0, 1), text_(text) { script_.path = std::move(path); }

    Script parse() {
        parse_options();
        for (in_.skip_space(); !in_.is_done(); in_.skip_space()) {
            script_.events.push_back(parse_event());
        }
        return std::move(script_);
    }

private:
    void parse_options() {
        while (in_.take("--")) {
            std::string name = in_.word();
            std::string value;
            if (in_.peek() == '=') {
                in_.skip(1);
                while (!in_.is_done() && std::isspace(static_cast<unsigned char>(in_.peek())) == 0) {
                    value += in_.peek();
                    in_.skip(1);
                }
            }
            script_.options.emplace_back(std::move(name), std::move(value));
        }
    }

    Event parse_event() {
        Event event;
        event.line = in_.line();
        if (starts_time(in_)) {
            event.time = parse_time(in_);
        } else if (in_.peek() == '`' || in_.looks_at("%{")) {
            event.time.kind = EventTime::Kind::relative;  // set-up commands have no time: at once
        } else {
            in_.complain("an event starts with its time");
        }
        std::optional<Duration> end;
        if (in_.take("...")) {
            end = in_.seconds();
        }
        in_.skip_space();
        if (in_.take("`")) {
            event.what = Command{in_.until("`")};
        } else if (in_.take("%{")) {
            event.what = CodeBlock{in_.until("}%")};
        } else if (in_.peek() == '<' || in_.peek() == '>') {
            const bool is_inbound = in_.peek() == '<';
            in_.skip(1);
            std::size_t at = in_.position();
            event.what = parse_packet(is_inbound, text_, at, in_.line());
            in_.skip(at - in_.position());
        } else {
            SystemCall call = parse_call(in_);
            call.end = end;
            event.what = std::move(call);
        }
        return event;
    }

    Cursor in_;
    std::string_view text_;
    Script script_;
};

}  // namespace

Script parse_script(const std::string& path, std::string text) {
    return Parser(path, text).parse();
}

}  // namespace shunt::packetdrill
