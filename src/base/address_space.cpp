#include "base/address_space.hpp"

#include <fcntl.h>
#include <link.h>

#include <algorithm>
#include <cstdio>
#include <string>

#include "base/sys.hpp"

namespace shunt {
namespace {

constexpr std::uintptr_t page = 4096;

// Of libraries and of the program itself. The kernel shows a segment's zeroed end and a heap behind it as one mapping: hence not from /proc.
std::vector<AddressRange> loaded_segments() {
    std::vector<AddressRange> segments;
    dl_iterate_phdr(
        [](dl_phdr_info* object, std::size_t, void* to) {
            for (int i = 0; i < object->dlpi_phnum; ++i) {
                const ElfW(Phdr)& header = object->dlpi_phdr[i];
                if (header.p_type == PT_LOAD) {
                    const std::uintptr_t begin = object->dlpi_addr + header.p_vaddr;
                    static_cast<std::vector<AddressRange>*>(to)->push_back({begin / page * page, (begin + header.p_memsz + page - 1) / page * page});
                }
            }
            return 0;
        },
        &segments);
    std::ranges::sort(segments, {}, &AddressRange::begin);
    return segments;
}

std::string read_maps() {
    std::string text;
    const long fd = sys::call(SYS_openat, AT_FDCWD, sys::word("/proc/self/maps"), O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return text;
    }
    char part[4096];
    for (long got; (got = sys::read(static_cast<int>(fd), part, sizeof part)) > 0;) {
        text.append(part, static_cast<std::size_t>(got));
    }
    sys::close(static_cast<int>(fd));
    return text;
}

bool is_kernels(const std::string& line) noexcept {
    return line.find("[v") != std::string::npos;  // [vdso], [vvar], [vvar_vclock], [vsyscall]
}

// `range` without the segments, appended to `to`.
void add_without(AddressRange range, const std::vector<AddressRange>& segments, std::vector<AddressRange>& to) {
    for (const AddressRange& segment : segments) {
        if (segment.end <= range.begin || segment.begin >= range.end) {
            continue;
        }
        if (segment.begin > range.begin) {
            to.push_back({range.begin, segment.begin});
        }
        range.begin = segment.end;
        if (range.begin >= range.end) {
            return;
        }
    }
    to.push_back(range);
}

}  // namespace

std::vector<AddressRange> mapped_by_program() {
    const std::vector<AddressRange> segments = loaded_segments();
    const std::string maps = read_maps();
    std::vector<AddressRange> ranges;
    for (std::size_t at = 0; at < maps.size();) {
        const std::size_t end = std::min(maps.find('\n', at), maps.size());
        const std::string line = maps.substr(at, end - at);
        at = end + 1;
        AddressRange range;
        if (std::sscanf(line.c_str(), "%lx-%lx", &range.begin, &range.end) == 2 && !is_kernels(line)) {
            add_without(range, segments, ranges);
        }
    }
    // Neighbours as one: a program may have thousands.
    std::vector<AddressRange> merged;
    for (const AddressRange& range : ranges) {
        if (!merged.empty() && merged.back().end == range.begin) {
            merged.back().end = range.end;
        } else {
            merged.push_back(range);
        }
    }
    return merged;
}

void unmap(std::span<const AddressRange> ranges) noexcept {
    for (const AddressRange& range : ranges) {
        sys::call(SYS_munmap, static_cast<long>(range.begin), static_cast<long>(range.end - range.begin));
    }
}

}  // namespace shunt
